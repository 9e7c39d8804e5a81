# SPDX-License-Identifier: Apache-2.0
"""Whether bcc can be tested on this machine."""

from __future__ import annotations

import os

import pytest

from geodrop.errors import UnavailableError
from geodrop.xdp.bcc_loader import BccLoader


def require_bcc() -> None:
    """Skip the running test where bcc is missing; in CI fail it, so that no gap goes unseen."""
    try:
        BccLoader().version()
    except UnavailableError as error:
        if os.environ.get("CI") == "true":
            pytest.fail(f"CI must test the bcc loader: {error}")
        pytest.skip(str(error))
