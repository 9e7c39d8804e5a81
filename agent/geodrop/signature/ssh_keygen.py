# SPDX-License-Identifier: Apache-2.0
"""Run ssh-keygen, which makes and checks signatures: ssh-keygen(1), "-Y sign" and "-Y verify".

When it checks a signature it reads what an attacker may have written. So it runs without a capability, as nobody in a
group of its own if we are root, with an environment of its own, for a limited time, and what it says is limited too. It
opens no path of ours: whatever it reads is handed over as sealed memory, so it reads the very bytes that were checked
here.
"""

from __future__ import annotations

import ctypes
import os
import selectors
import shutil
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import UnavailableError
from geodrop.linux import libc
from geodrop.ruleset.sealed import seal

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

NAMESPACE = "ruleset@geodrop"
"""What a signature is for: one that was made for mail, git or another program does not count (PROTOCOL.sshsig)."""

PATH = "/usr/bin:/bin:/usr/local/bin"
SECONDS = 60.0
"""How long a check may take; a ruleset of 26 MB takes 0.1 s."""

MOST = 1 << 16
"""Bytes that are read of each of its streams."""

_NOBODY = 65534
_ITS_GROUP = 65535
"""A group that no user is in (systemd's UIDS-GIDS). Other programs may run as nobody: the kernel lets a process trace
another one only if their groups are the same too, so none of them can have ssh-keygen say that a signature is good.
"""

# linux/prctl.h
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL = 47, 4


@dataclass(frozen=True, slots=True)
class Said:
    """How ssh-keygen ended, and what it wrote."""

    code: int
    out: str
    err: str


def program() -> str:
    """Return the path of ssh-keygen. Raises UnavailableError if it is not installed."""
    found = shutil.which("ssh-keygen", path=PATH)
    if found is None:
        raise UnavailableError(
            "ssh-keygen is not installed, so no signature can be made or checked", "apt-get install openssh-client"
        )
    return found


def check(arguments: Sequence[str | bytes], message: int) -> Said:
    """Run ssh-keygen without any right, with a message on its standard input, and return what it said.

    `message` is a descriptor of sealed memory. An argument of bytes becomes the path of a file with that content.
    Raises UnavailableError if ssh-keygen is missing, cannot be started or takes longer than SECONDS.
    """
    name = program()
    with ExitStack() as stack:
        paths = {one: _in_memory(stack, one) for one in arguments if isinstance(one, bytes)}
        command = [name, *(one if isinstance(one, str) else f"/proc/self/fd/{paths[one]}" for one in arguments)]
        # Opened again, so that it has a position of its own and cannot be written to.
        reading = os.open(f"/proc/self/fd/{message}", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, reading)
        said: list[Said | OSError] = []

        def work() -> None:
            try:
                said.append(_run(command, reading, tuple(paths.values())))
            except OSError as error:
                said.append(error)

        # What a thread gives up, its child never has. This thread ends with the child.
        thread = threading.Thread(target=lambda: _without_rights(work, said))
        thread.start()
        thread.join()
    return _told(said)


def _told(said: Sequence[Said | OSError]) -> Said:
    """Return what was said. Raises UnavailableError."""
    if not said or isinstance(said[0], OSError):
        why = (said[0].strerror or str(said[0])) if said and isinstance(said[0], OSError) else "it met a bug"
        raise UnavailableError(f"ssh-keygen cannot check the signature ({why})", "free memory or processes")
    return said[0]


def _without_rights(work: Callable[[], None], said: list[Said | OSError]) -> None:
    """Give up what a child could inherit, for this thread alone, then work."""
    try:
        # prctl(2) is variadic and takes longs.
        for option, argument in ((_PR_SET_NO_NEW_PRIVS, 1), (_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)):
            libc.call("prctl", option, *map(ctypes.c_ulong, (argument, 0, 0, 0)))
    except OSError as error:
        said.append(error)
        return
    work()


def _run(command: Sequence[str], message: int, given: Sequence[int]) -> Said:
    """Run a command until it ends. Raises OSError, TimeoutError among them."""
    # Root becomes nobody. Another user loses its capabilities by running a program without ambient ones.
    is_root = os.geteuid() == 0
    process = subprocess.Popen(
        command,
        stdin=message,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        pass_fds=given,
        env={"PATH": PATH, "LC_ALL": "C"},
        cwd="/",
        start_new_session=True,
        user=_NOBODY if is_root else None,
        group=_ITS_GROUP if is_root else None,
        extra_groups=() if is_root else None,
    )
    with process:
        try:
            out, err = _read(*(pipe.fileno() for pipe in (process.stdout, process.stderr) if pipe))
            code = process.wait(SECONDS)
        except BaseException:
            process.kill()
            raise
    return Said(code, out, err)


def _read(*pipes: int) -> list[str]:
    """Read pipes to their ends; of each, the first MOST bytes count. Raises TimeoutError."""
    found = {pipe: bytearray() for pipe in pipes}
    deadline = time.monotonic() + SECONDS
    with selectors.DefaultSelector() as waiting:
        for pipe in pipes:
            waiting.register(pipe, selectors.EVENT_READ)
        while waiting.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise TimeoutError(0, f"it took longer than {SECONDS:.0f} s")
            for key, _ in waiting.select(left):
                piece = os.read(key.fd, MOST)
                if not piece:
                    waiting.unregister(key.fd)
                found[key.fd] += piece[: MOST - len(found[key.fd])]
    return [bytes(one).decode(errors="replace") for one in found.values()]


def _in_memory(stack: ExitStack, content: bytes) -> int:
    """Return a descriptor of sealed memory with this content."""
    memory = os.memfd_create("ssh-keygen", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    stack.callback(os.close, memory)
    with open(memory, "wb", closefd=False) as file:
        file.write(content)
    seal(memory)
    return memory
