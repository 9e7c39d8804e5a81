# SPDX-License-Identifier: Apache-2.0
"""Runs under the system's Python, with bcc: compiles the program, loads and pins it, and exits.

The request is JSON on standard input, the answer JSON on standard output. What bcc, clang and the verifier print goes
to standard error. If bcc cannot compile there is no answer, and standard error says why.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodrop.errors import GeodropError, UnavailableError
from geodrop.linux import libbpf
from geodrop.linux.libc import LIBC
from geodrop.xdp.loader import PROGRAMS, explained, with_frags_first

if TYPE_CHECKING:
    from collections.abc import Mapping

PR_SET_PDEATHSIG = 1  # linux/prctl.h


def main() -> None:
    """Answer one request; an empty one asks for bcc's version. The second argument is the parent's process number."""
    # If the parent is killed, no process is left to remove what this one would still pin.
    LIBC.prctl(PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != int(sys.argv[2]):
        sys.exit("the process that asked has ended")
    answers = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    sys.stdout = sys.stderr  # output appears when it is printed, before an error that ends the process
    sys.tracebacklimit = 0  # the text of bcc's exceptions is enough
    request = json.load(sys.stdin)
    try:
        answer = build(request) if request else {"bcc": _bcc().__version__}
    except GeodropError as error:
        answer = {"error": type(error).__name__, "message": error.message, "next_step": error.next_step}
    os.write(answers, json.dumps(answer).encode())


def build(request: Mapping[str, Any]) -> dict[str, str]:
    """Compile with the request's flags, load the programs, and pin them into its folder."""
    bcc = _bcc()
    # Pass the file's text, not its name: bcc finds only programs that the text itself defines.
    module = bcc.BPF(text=Path(request["source"], "geodrop.bpf.c").read_bytes(), cflags=request["flags"])
    programs = {name: module.dump_func(name.encode()) for name in PROGRAMS}
    folder = Path(request["folder"])
    log: list[str] = []

    def load(flags: int) -> None:
        with ExitStack() as stack:
            loaded = {}
            for name, instructions in programs.items():
                # Not loaded by bcc: up to 0.26 at least it cannot set a program's flags, which jumbo frames need.
                loaded[name] = libbpf.load_program(name, instructions, flags=flags, log=log)
                stack.callback(os.close, loaded[name])
            for name, fd in loaded.items():
                libbpf.pin(fd, str(folder / name))

    with explained(log):
        with_frags_first(load, readable=request["frags"])
    return {}


def _bcc() -> Any:  # noqa: ANN401 - it has no types
    try:
        import bcc  # noqa: PLC0415 - only the system's Python has it
    except ImportError as error:
        raise UnavailableError(
            f"{sys.executable} has no bcc ({error})",
            "install it (Debian: python3-bpfcc), or write  loader: libbpf  in agent.yaml",
        ) from error
    # The PyPI package called bcc is a different project.
    if not hasattr(bcc, "BPF"):
        raise UnavailableError(f"{bcc.__file__} is not the BPF Compiler Collection", "install python3-bpfcc")
    return bcc
