# SPDX-License-Identifier: Apache-2.0
"""Nothing that a unit test leaves is kept or told where a daemon of this machine, or its journal, would have it."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from geodrop.state import announce, this_boot, unwritten

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path


@pytest.fixture(scope="session", autouse=True)
def run_folder(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A folder in the place of /run/geodrop; state directories are told apart in it."""
    folder = tmp_path_factory.mktemp("run")
    with pytest.MonkeyPatch.context() as patch:
        for module in (this_boot, unwritten):
            patch.setattr(module, "until_boot", lambda: str(folder))
        patch.setattr(announce, "_listener", lambda _: None)
        yield folder
