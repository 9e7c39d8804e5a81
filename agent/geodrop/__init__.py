# SPDX-License-Identifier: Apache-2.0
"""geodrop: network-layer enforcement for API edges."""

__version__ = "0.1.0"
