# SPDX-License-Identifier: Apache-2.0
"""A kernel that refuses: the verifier, and missing facilities. What was in force stays in force."""

from __future__ import annotations

import errno
import os
import re
import struct
from contextlib import suppress
from typing import TYPE_CHECKING

import pytest

from geodrop.dataplane import transaction
from geodrop.dataplane.both import BothEngines
from geodrop.engine.interfaces import select
from geodrop.errors import UnavailableError
from geodrop.linux import libbpf
from geodrop.nftables.engine import NftablesEngine
from geodrop.state.places import refusal_log
from geodrop.xdp import verifier_log
from geodrop.xdp.libbpf_loader import OBJECTS, LibbpfLoader
from tests.kernel.xdp.states import State
from tests.support.engines import XdpEngine
from tests.support.worlds import POLICY_US, compiled

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.xdp.states import Bench

OBJECT_NAMES = ("geodrop.bpf.o", "geodrop_no_clock.bpf.o")
BAD = struct.pack("=BBhi", 0x79, 10 << 4, 8, 0)  # r0 = *(u64 *)(r10 + 8): above the stack
IN_FORCE = State("a")


@pytest.fixture
def log(bench: Bench) -> Iterator[Path]:
    """Yield the path of the log of a refusal in the judged host."""
    del bench
    path = refusal_log()
    yield path
    path.unlink(missing_ok=True)
    with suppress(OSError):
        path.parent.rmdir()


def section(content: bytes, wanted: bytes) -> int:
    """Return the offset of a section in a 64-bit ELF file: struct elf64_hdr and elf64_shdr of linux/elf.h."""
    table, size, count, names = struct.unpack_from("<Q10xHHH", content, 0x28)
    headers = [struct.unpack_from("<IIQQQQ", content, table + size * number) for number in range(count)]
    texts = headers[names][4]
    found: int = next(header[4] for header in headers if content[texts + header[0] :].startswith(wanted + b"\0"))
    return found


def bad_loader(folder: Path) -> LibbpfLoader:
    """Return a loader of programs that the verifier refuses."""
    for name in OBJECT_NAMES:
        content = bytearray((OBJECTS / name).read_bytes())
        at = section(bytes(content), b"xdp")
        content[at : at + len(BAD)] = BAD
        (folder / name).write_bytes(content)
    return LibbpfLoader(folder)


def test_the_verifiers_words_are_kept(bench: Bench, log: Path, tmp_path: Path) -> None:
    """The message ends with the verifier's log of the bad program; the whole log is kept, and nothing changes."""
    bench.load(IN_FORCE)
    engine = XdpEngine(bad_loader(tmp_path), pins=bench.pins)
    with pytest.raises(UnavailableError) as caught:
        engine.apply(bench.rulesets["b"], 99, ["eth0"])
    message = str(caught.value)
    assert "what was in force before still is" in message
    assert "invalid read from stack R10 off=8" in message
    assert f"the whole log: {log}" in message
    assert len(message.splitlines()) < 20
    assert "invalid read from stack R10 off=8" in log.read_text(encoding="utf-8")
    bench.assert_is(IN_FORCE)


@pytest.mark.parametrize("size", [0, 100, 20_000])
def test_a_cut_off_object(bench: Bench, tmp_path: Path, size: int) -> None:
    """The error names an object that ends early, and nothing changes."""
    bench.load(IN_FORCE)
    for name in OBJECT_NAMES:
        (tmp_path / name).write_bytes((OBJECTS / name).read_bytes()[:size])
    with pytest.raises(UnavailableError, match="cannot be read as a BPF object; install geodrop again"):
        XdpEngine(LibbpfLoader(tmp_path), pins=bench.pins).apply(bench.rulesets["b"], 99, ["eth0"])
    bench.assert_is(IN_FORCE)


def test_what_cannot_be_kept_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """If the folder cannot be written, the message still has the end of the log."""
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(verifier_log, "refusal_log", lambda: tmp_path / "file" / "verifier.log")
    error = verifier_log.refused(OSError(errno.EACCES, "Permission denied"), ["0: (95) exit", "R0 !read_ok"])
    assert re.search(r"R0 !read_ok\nthe whole log could not be kept: .*verifier\.log", str(error))


@pytest.mark.usefixtures("log")
@pytest.mark.parametrize("missing", ["mmap", "clock", "verifier"])
def test_a_kernel_without_a_facility(
    bench: Bench, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, missing: str
) -> None:
    """With an explicit xdp the load is refused, and the error names what is missing; auto continues with nftables."""
    ruleset, xdp = bench.rulesets["b"], XdpEngine(pins=bench.pins)
    if missing == "verifier":
        xdp = XdpEngine(bad_loader(tmp_path), pins=bench.pins)
        words = "the kernel refused the XDP program"
    elif missing == "mmap":

        def refused(*_: object, **__: object) -> int:
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

        monkeypatch.setattr(libbpf, "create_array", refused)
        words = "this kernel has no mmap-able BPF arrays"
    else:
        monkeypatch.setattr(libbpf, "has_tai_clock", lambda: False)
        ruleset = compiled(POLICY_US + "    starts: 2040-01-01T00:00:00Z\n", tmp_path)
        words = "XDP programs cannot tell the time"
    engines = BothEngines(NftablesEngine(), xdp)
    with pytest.raises(UnavailableError, match=words) as caught:
        transaction.apply(engines, ruleset, 1, select(["eth0"]), "xdp")
    assert caught.value.exit_code == 69
    assert engines.observe().generation == 0
    transaction.apply(engines, ruleset, 1, select(["eth0"]), "auto")
    observed = engines.observe()
    assert [(one.name, one.engine, "\n" in one.why) for one in observed.interfaces] == [("eth0", "nftables", False)]
    assert observed.interfaces[0].why
    assert engines.verify(ruleset) == []
    engines.remove()
