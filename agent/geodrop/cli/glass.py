# SPDX-License-Identifier: Apache-2.0
"""Read agent.yaml for verbs that must work even if it is damaged."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.config import load_config_or_assume

if TYPE_CHECKING:
    from geodrop.config import Config


def config_or_assumed(path: str | None) -> Config:
    """Return the configuration, or what is assumed instead, with a warning printed first."""
    config, doubt = load_config_or_assume(path)
    if doubt:
        messages.warning(doubt)
    return config
