# SPDX-License-Identifier: Apache-2.0
"""Build the program on the host with bcc, which exists only as a system package for the system's Python.

So a child process of /usr/bin/python3 compiles, loads and pins (`bcc_child`); it gets the maps as descriptors. bcc
compiles bpf/geodrop.bpf.c, the source of the prebuilt object, against the headers that the C library is built with. It
needs no kernel headers, whatever the running kernel (bpf/bcc/include says how).
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import platform
import subprocess
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodrop import errors
from geodrop.errors import UnavailableError
from geodrop.linux import libbpf
from geodrop.xdp.loader import LOG_LINES, explained
from geodrop.xdp.maps import pinned_maps

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from geodrop.xdp.loader import Sizes

SOURCE = Path(__file__).parent / "source"
"""A link to bpf/ in the tree; a copy of it in the wheel."""

SYSTEM_PYTHON = "/usr/bin/python3"
HEADERS = ("/usr/include", f"/usr/include/{platform.machine()}-linux-gnu")
NEEDED = "asm/types.h", "linux/if_ether.h"
PACKAGES = Path(__file__).parents[2]
"""Where the child finds the package geodrop."""

CHILD = "import sys; sys.path.append(sys.argv[1]); from geodrop.xdp.bcc_child import main; main()"
"""Our path is appended, so that the system's packages, bcc among them, come first."""

SECONDS = 60
"""The limit for compiling and the verifier, which take 1 to 3 s on an idle machine."""


class BccLoader:
    """The loader for hosts that must build what they run."""

    name = "bcc"

    def __init__(self, source: Path = SOURCE, python: str = SYSTEM_PYTHON, seconds: float = SECONDS) -> None:
        self.source = source
        self.python = python
        self.seconds = seconds

    def version(self) -> str:
        """Return a version of the source, bcc and the kernel together."""
        found = hashlib.sha256(f"{_bcc_version(self.python)} {os.uname().release}".encode())
        files = sorted(self.source.rglob("*.[ch]"))
        if not files:
            raise UnavailableError(f"{self.source} holds no program", "install geodrop again")
        for path in files:
            found.update(path.read_bytes())
        return found.hexdigest()[:12]

    def load(self, folder: Path, sizes: Sizes) -> None:
        """Make the maps, and have the child build, load and pin the programs."""
        with explained(()), pinned_maps(folder, sizes) as maps:
            clock = libbpf.has_tai_clock()
            flags = _flags(self.source, maps) + ([] if clock else ["-DGEODROP_NO_CLOCK"])
            request = {"source": str(self.source), "folder": str(folder), "flags": flags, "frags": clock}
            _ask(self.python, request, self.seconds, maps.values())


def _flags(source: Path, maps: Mapping[str, int]) -> list[str]:
    descriptors = [f"-DGEODROP_{name}={fd}" for name, fd in maps.items()]
    # After every path that bcc names: bcc must not find other headers than its own there.
    headers = [part for path in reversed(HEADERS) for part in ("-idirafter", path)]
    return ["-DGEODROP_BCC", f"-I{source}", *descriptors, *headers]


@functools.cache
def _bcc_version(python: str) -> str:
    """Return the version of bcc. Raises UnavailableError if bcc, Python or headers are missing."""
    if not os.access(python, os.X_OK):
        raise UnavailableError(f"{python} is not there, and bcc runs under it", "install it (Debian: python3)")
    for name in NEEDED:
        if not any(Path(folder, name).exists() for folder in HEADERS):
            raise UnavailableError(
                f"{name} is in none of {', '.join(HEADERS)}: bcc needs the kernel's headers for programs",
                "install them (Debian: linux-libc-dev)",
            )
    return str(_ask(python, {}, SECONDS)["bcc"])


def _ask(python: str, request: Mapping[str, Any], seconds: float, pass_fds: Iterable[int] = ()) -> dict[str, Any]:
    """Send a request to the child. Raises what the child raises, and UnavailableError if it ends without an answer."""
    try:
        done = subprocess.run(
            [python, "-I", "-c", CHILD, str(PACKAGES), str(os.getpid())],
            input=json.dumps(request).encode(),
            capture_output=True,
            timeout=seconds,
            check=False,
            pass_fds=tuple(pass_fds),
            # bcc looks for headers in its working directory, and in further places that environment variables name.
            cwd="/",
            env={"BCC_KERNEL_SOURCE": f"{request.get('source', '')}/bcc", "LC_ALL": "C", "PATH": "/usr/bin:/bin"},
        )
    except subprocess.TimeoutExpired as error:
        raise UnavailableError(
            f"bcc had not built the XDP program after {seconds:g} s and was ended",
            "write  loader: libbpf  in agent.yaml",
        ) from error
    if not done.stdout:
        words = "\n".join(done.stderr.decode(errors="replace").splitlines()[-LOG_LINES:])
        how = f"killed by signal {-done.returncode}" if done.returncode < 0 else f"exit {done.returncode}"
        raise UnavailableError(
            f"bcc could not build the XDP program ({how}):\n{words}", "write  loader: libbpf  in agent.yaml"
        )
    answer: dict[str, Any] = json.loads(done.stdout)
    if "error" in answer:
        raise getattr(errors, answer["error"])(answer["message"], answer["next_step"])
    return answer
