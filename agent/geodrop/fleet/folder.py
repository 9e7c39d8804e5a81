# SPDX-License-Identifier: Apache-2.0
"""A folder with a file for each host, as playbooks/status.yml writes it: HOST.json."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.errors import DataError, not_opened
from geodrop.fleet.answer import read

if TYPE_CHECKING:
    from geodrop.fleet.answer import HostStatus, Silence

SUFFIX = ".json"
MOST = 100_000
"""Files of one folder."""

FETCH = "name the folder that playbooks/status.yml has filled, a file HOST.json for each host"


def read_folder(path: str) -> list[HostStatus | Silence]:
    """Return what each host said. Other files, and those whose names begin with a dot, are passed over.

    Raises DataError, DataDeniedError if the folder cannot be read or has no such file; never for one of the files.
    """
    try:
        names = [name for name in os.listdir(path) if name.endswith(SUFFIX) and not name.startswith(".")]
    except OSError as error:
        raise not_opened(path, error, DataError, FETCH) from None
    if not names:
        raise DataError(f"{path}: has no file *{SUFFIX}", FETCH)
    if len(names) > MOST:
        raise DataError(f"{path}: has {len(names):,} files *{SUFFIX}, {MOST:,} is the most", "split it into several")
    return [read(Path(path, name)) for name in names]
