# SPDX-License-Identifier: Apache-2.0
"""How far the program is from the verifier's limit, with either loader."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.linux import libbpf
from geodrop.xdp.bcc_loader import BccLoader
from geodrop.xdp.libbpf_loader import LibbpfLoader
from geodrop.xdp.loader import PROGRAMS, Sizes
from tests.support.bcc import require_bcc
from tests.support.namespaces import run

if TYPE_CHECKING:
    from geodrop.xdp.loader import Loader
    from geodrop.xdp.pins import Pins

pytestmark = pytest.mark.root

MOST = 700_000
"""Of the million instructions that the verifier follows; future compilers and kernels may need more of them."""

ROOT = Path(__file__).parents[3]
COMPILERS = sorted({path.name for folder in os.get_exec_path() for path in Path(folder).glob("clang-[1-9][0-9]")})

INFO_BYTES, VERIFIED_AT = 232, 216  # struct bpf_prog_info up to attach_btf_id, and verified_insns in it: Linux 5.16


def verified(program: int) -> int:
    """Return how many instructions the verifier followed."""
    info, size = ctypes.create_string_buffer(INFO_BYTES), ctypes.c_uint32(INFO_BYTES)
    libbpf.call("bpf_obj_get_info_by_fd", program, info, ctypes.byref(size))
    if size.value < VERIFIED_AT + 4:
        pytest.skip("Linux before 5.16 does not say")
    return int.from_bytes(info.raw[VERIFIED_AT : VERIFIED_AT + 4], "little")


@pytest.mark.parametrize("clock", ["with clock", "without clock"])
@pytest.mark.parametrize("name", ["libbpf", "bcc"])
def test_the_verifier_has_a_margin(pins: Pins, monkeypatch: pytest.MonkeyPatch, name: str, clock: str) -> None:
    """Both programs, with and without the kernel's clock, stay well below the verifier's limit."""
    if name == "bcc":
        require_bcc()
    monkeypatch.setattr(libbpf, "has_tai_clock", lambda: clock == "with clock")
    loader: Loader = LibbpfLoader() if name == "libbpf" else BccLoader()
    has_a_margin(loader, pins, f"{name}, {clock}")


@pytest.mark.parametrize("clock", ["with clock", "without clock"])
@pytest.mark.parametrize("compiler", COMPILERS)
def test_other_compilers_have_it_too(
    pins: Pins, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, compiler: str, clock: str
) -> None:
    """Each installed release of clang has the margin; Debian 12 has 14, Debian 13 has 19."""
    monkeypatch.setattr(libbpf, "has_tai_clock", lambda: clock == "with clock")
    objects = [str(tmp_path / name) for name in ("geodrop.bpf.o", "geodrop_no_clock.bpf.o")]
    run("make", "--silent", f"--directory={ROOT}", f"CLANG={compiler}", *objects)
    has_a_margin(LibbpfLoader(tmp_path), pins, f"{compiler}, {clock}")


def has_a_margin(loader: Loader, pins: Pins, what: str) -> None:
    """Load the program, and compare the verifier's work with the margin."""
    pins.make()
    folder = pins.new_set(loader.version())
    loader.load(folder, Sizes(8, 2, 512))
    for program in PROGRAMS:
        fd = libbpf.get(str(folder / program))
        count = verified(fd)
        os.close(fd)
        print(f"{what}: {program} {count:,} instructions")
        assert 10_000 < count <= MOST
