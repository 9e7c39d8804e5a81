"""`make packages`: a Debian package for each release and processor, from geodrop's wheel."""

from __future__ import annotations

import argparse
import os
from pathlib import Path

from deploy.packages import deb, wheels
from deploy.packages.targets import TARGETS

BUILD = Path(__file__).parents[2] / "build"


def main() -> None:
    """Build what is asked for into build/packages, and print the path of each file."""
    parser = argparse.ArgumentParser(prog="python -m deploy.packages", description=__doc__)
    parser.add_argument("wheel", type=Path, help="geodrop's wheel (built by: make wheel)")
    names = [str(target) for target in TARGETS]
    parser.add_argument("--only", action="append", default=[], choices=names, help="may be repeated (default: all)")
    parser.add_argument("--to", type=Path, default=BUILD / "packages", help="the folder for the packages")
    args = parser.parse_args()
    epoch = int(os.environ["SOURCE_DATE_EPOCH"])
    for target in TARGETS:
        if not args.only or str(target) in args.only:
            locked = wheels.fetch(target, BUILD / "wheels")
            print(deb.build(target, args.wheel, locked, args.to, epoch), flush=True)


if __name__ == "__main__":
    main()
