# SPDX-License-Identifier: Apache-2.0
"""`make release`: check that this tree can be released, and write the notes of the release."""

from __future__ import annotations

import sys
from pathlib import Path

from deploy.release import changelog, checks

ROOT = Path(__file__).parents[2]


def main(root: Path = ROOT) -> int:
    """Print every problem and return 1; or write build/release/NOTES.md, print its path and return 0."""
    found = list(checks.problems(root))
    for problem in found:
        print(f"release: {problem}", file=sys.stderr)
    if found:
        return 1
    name = checks.version(root)
    told = changelog.read((root / checks.CHANGELOG).read_text(encoding="utf-8"))[name]
    notes = root / "build" / "release" / "NOTES.md"
    notes.parent.mkdir(parents=True, exist_ok=True)
    notes.write_text(told.notes(), encoding="utf-8")
    print(notes)
    return 0


if __name__ == "__main__":
    sys.exit(main())
