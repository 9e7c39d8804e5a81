# SPDX-License-Identifier: Apache-2.0
"""A program of another layout than this code's is refused: it would misread what user space fills in."""

from __future__ import annotations

import platform
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import UnavailableError
from geodrop.xdp.bcc_loader import SOURCE, BccLoader
from geodrop.xdp.layout import LAYOUT_VERSION
from geodrop.xdp.libbpf_loader import LibbpfLoader
from tests.support.bcc import require_bcc
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces, require

if TYPE_CHECKING:
    from pathlib import Path

    from geodrop.ruleset.model import Ruleset
    from geodrop.xdp.loader import Loader
    from geodrop.xdp.pins import Pins

pytestmark = pytest.mark.root


def of_layout(folder: Path, loader: str, before: str, after: str) -> Loader:
    """Return a loader of the program built from a copy of the source in which some text is replaced."""
    source = shutil.copytree(SOURCE, folder / "source")
    for path in (source / "layout.h", source / "geodrop.bpf.c"):
        path.write_text(path.read_text().replace(before, after))
    if loader == "bcc":
        require_bcc()
        return BccLoader(source)
    options = ["clang", "-O2", "-g", "-target", "bpf", f"-I/usr/include/{platform.machine()}-linux-gnu"]
    for name, more in (("geodrop", []), ("geodrop_no_clock", ["-DGEODROP_NO_CLOCK"])):
        program = str(source / "geodrop.bpf.c")
        subprocess.run([*options, *more, "-c", program, "-o", str(folder / f"{name}.bpf.o")], check=True)
    return LibbpfLoader(folder)


@pytest.mark.parametrize("loader", ["libbpf", "bcc"])
@pytest.mark.parametrize(
    "change",
    [
        (f"LAYOUT_VERSION {LAYOUT_VERSION}", f"LAYOUT_VERSION {LAYOUT_VERSION - 1}", str(LAYOUT_VERSION - 1)),
        (f"LAYOUT_VERSION {LAYOUT_VERSION}", f"LAYOUT_VERSION {LAYOUT_VERSION + 1}", str(LAYOUT_VERSION + 1)),
        ("asked->tables = LAYOUT_VERSION;", "", "unknown"),
    ],
    ids=["older", "newer", "before it was told"],
)
def test_a_program_of_another_layout_is_refused(
    tmp_path: Path, rulesets: list[Ruleset], pins: Pins, loader: str, change: tuple[str, str, str]
) -> None:
    """With either loader the error (69) names both layouts and the next step; nothing is attached or left behind."""
    require()
    before, after, found = change
    engine = XdpEngine(of_layout(tmp_path, loader, before, after), pins)
    with namespaces("sender", "host") as [sender, host]:
        join(End(sender, "eth0"), End(host, "eth0"))
        with host.entered(), pytest.raises(UnavailableError) as failure:
            engine.apply(rulesets[0], 1, ["eth0"])
        assert re.search(rf"of loader {loader} .*\(layout {found}, not {LAYOUT_VERSION}\)", failure.value.message)
        assert "make setup" in failure.value.next_step
        assert "xdp" not in host.run("ip", "link", "show", "eth0")
    assert pins.sets() == []
