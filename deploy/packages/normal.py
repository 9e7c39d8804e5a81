# SPDX-License-Identifier: Apache-2.0
"""Give a wheel the bytes that its sources alone decide: setuptools packs the modes that umask and checkout gave them.

`python deploy/packages/normal.py WHEEL` needs nothing but Python.
"""

from __future__ import annotations

import sys
import zipfile
from pathlib import Path

MODE = 0o100644


def normalize(wheel: Path) -> None:
    """Write a wheel again, in place: each file 0644, in the order of names. Times stay: SOURCE_DATE_EPOCH set them."""
    made = wheel.with_suffix(".new")
    with zipfile.ZipFile(wheel) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for item in sorted(old.infolist(), key=lambda one: one.filename):
            plain = zipfile.ZipInfo(item.filename, item.date_time)
            plain.external_attr = MODE << 16
            plain.compress_type = zipfile.ZIP_DEFLATED
            new.writestr(plain, old.read(item))
    made.replace(wheel)


if __name__ == "__main__":
    normalize(Path(sys.argv[1]))
