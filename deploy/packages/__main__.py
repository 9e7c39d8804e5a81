# SPDX-License-Identifier: Apache-2.0
"""`make packages`: from geodrop's wheel, a Debian package for each release and processor, an offline bundle for each
processor, and the checksums of all.
"""

from __future__ import annotations

import argparse
import os
import shutil
from hashlib import sha256
from pathlib import Path

from deploy.packages import bundle, deb, wheels
from deploy.packages.sources import Sources
from deploy.packages.targets import PROCESSORS, TARGETS

BUILD = Path(__file__).parents[2] / "build"


def main() -> None:
    """Build what is asked for into an emptied folder, and print the path of each file."""
    parser = argparse.ArgumentParser(prog="python -m deploy.packages", description=__doc__)
    parser.add_argument("wheel", type=Path, help="geodrop's wheel (built by: make wheel)")
    names = [str(target) for target in TARGETS]
    parser.add_argument(
        "--only",
        action="append",
        default=[],
        choices=names,
        help="this package and no bundle; may be repeated (default: all)",
    )
    parser.add_argument("--to", type=Path, default=BUILD / "packages", help="the folder, which is emptied first")
    args = parser.parse_args()
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    shutil.rmtree(args.to, ignore_errors=True)
    args.to.mkdir(parents=True)
    shutil.copy(args.wheel, args.to)
    chosen = [target for target in TARGETS if not args.only or str(target) in args.only]
    locked = {target: wheels.fetch(target, BUILD / "wheels") for target in chosen}
    for target in chosen:
        print(deb.build(target, Sources(args.wheel, locked[target], epoch), args.to), flush=True)
    for processor in PROCESSORS if not args.only else ():
        together = [wheel for target in chosen if target.processor == processor for wheel in locked[target]]
        print(bundle.build(processor, Sources(args.wheel, together, epoch), args.to), flush=True)
    sums = [f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in sorted(args.to.iterdir())]
    (args.to / "SHA256SUMS").write_text("".join(sums), encoding="utf-8")


if __name__ == "__main__":
    main()
