# SPDX-License-Identifier: Apache-2.0
"""The bundled database: a dated DB-IP Lite Country snapshot (CC BY 4.0, see ATTRIBUTION.md), for demos and tests."""

from __future__ import annotations

import hashlib
import lzma
from pathlib import Path

from geodrop.errors import DataError

NAME = "dbip-country-lite-2026-06.mmdb"
ATTRIBUTION = "IP Geolocation by DB-IP (https://db-ip.com), CC BY 4.0"
"""The credit that the licence requires wherever results from the data are shown."""

SHA256 = "4e7f53dd9c6ebe0e7244d5dd4cc03639bc9dbe0a5a83eca90db50eeaeea72024"
SIZE = 8_207_345
"""Of the unpacked file: SHA-256 in hex, and size in bytes."""


def bundled_database(folder: Path) -> Path:
    """Unpack the database into `folder` and return its path there, readable by everyone.

    Raises DataError if the file in the package is missing or damaged; then nothing is left in `folder`.
    """
    packed = Path(__file__).with_name(f"{NAME}.xz")
    next_step = "install geodrop again"
    try:
        with lzma.open(packed) as file:
            # Reading one byte more than the right size shows a larger file without unpacking all of it.
            content = file.read(SIZE + 1)
    except (OSError, EOFError, lzma.LZMAError) as error:
        raise DataError(f"{packed}: cannot be unpacked ({error})", next_step) from error
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise DataError(f"{packed}: not the database it was (its SHA-256 differs)", next_step)
    path = folder / NAME
    path.write_bytes(content)
    # The compile child runs as user nobody and must be able to read the file under any umask.
    path.chmod(0o644)
    return path
