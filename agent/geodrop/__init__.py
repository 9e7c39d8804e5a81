"""geodrop: network-layer enforcement for API edges."""

__version__ = "0.1.0"
