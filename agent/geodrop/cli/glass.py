"""agent.yaml for verbs that must work whatever it is like."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.config import load_config_or_assume

if TYPE_CHECKING:
    from geodrop.config import Config


def config_or_assumed(path: str | None) -> Config:
    """The configuration, or what is assumed in its place, with a warning before all else."""
    config, doubt = load_config_or_assume(path)
    if doubt:
        messages.warning(doubt)
    return config
