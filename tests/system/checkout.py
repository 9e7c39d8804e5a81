"""What a new user has: this tree as it would be committed, on a machine of its own, and the text of README.md."""

from __future__ import annotations

import re
import subprocess
from typing import TYPE_CHECKING

from tests.support.namespaces import run
from tests.system.machine import REPOSITORY

if TYPE_CHECKING:
    from pathlib import Path


def checkout(to: Path) -> None:
    """Copy the tree, without files that only this checkout has."""
    listed = run("git", "-C", str(REPOSITORY), "ls-files", "-z", "--cached", "--others", "--exclude-standard")
    names = "\n".join(name for name in listed.split("\0") if name and (REPOSITORY / name).exists())
    to.mkdir(parents=True)
    packed = to.with_suffix(".tar")
    pack = ("tar", "-C", str(REPOSITORY), "--owner=0", "--group=0", "-cf", str(packed), "-T", "-")
    subprocess.run(pack, input=names, text=True, check=True)
    run("tar", "-C", str(to), "-xf", str(packed))
    packed.unlink()


def commands(holding: str) -> list[str]:
    """Return the command lines of the block of README.md that contains a text, without their comments."""
    text = (REPOSITORY / "README.md").read_text(encoding="utf-8")
    [block] = [block for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) if holding in block]
    return [line.split("  #")[0].strip() for line in block.splitlines()]
