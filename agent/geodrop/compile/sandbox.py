"""Start the compile child and serve it: the side that may be root, and so the side that parses nothing.

The child gets open descriptors, not names: inputs may lie in folders that only root can enter. List files are named in
the policy, which only the child reads; it asks for each by name and gets a descriptor, if the file lies inside the
policy's folder.
"""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING, Any

from geodrop.errors import ConfigError, DataError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

MAX_NAME = 4096
FOUND = b"\0"
"""The message that comes with a descriptor; any other one is a reason."""


def run(
    task: str,
    policy: str | None,
    databases: Sequence[str],
    *,
    output: int | None = None,
    options: Mapping[str, Any] | None = None,
) -> int:
    """Run a task of `compile.child` and return its exit code; its standard streams are ours.

    Raises DataError for a database that cannot be opened and for a child that dies, ConfigError (by the child, as exit
    code 78) for a policy that cannot.
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    opened: list[int] = []
    folder = -1
    try:
        inputs = []
        for path in databases:
            opened.append(_open_database(path))
            inputs.append({"name": os.path.basename(path), "fd": opened[-1]})
        request: dict[str, Any] = {"task": task, "databases": inputs, "options": options or {}, "output": output}
        if policy is not None:
            opened.append(open_policy(policy))
            request["policy"] = {"name": policy, "fd": opened[-1]}
            folder = os.open(os.path.dirname(policy) or ".", os.O_PATH | os.O_DIRECTORY)
        passed = [theirs.fileno(), *opened, *([output] if output is not None else [])]
        child = subprocess.Popen(
            # -P: with -m alone Python would first import from the current folder, which may be anybody's.
            [sys.executable, "-P", "-m", "geodrop.compile.child", str(theirs.fileno())],
            pass_fds=passed,
            env=_environment(),
        )
        theirs.close()
        try:
            ours.sendall(json.dumps(request).encode())
            _serve_lists(ours, folder)
        except (BrokenPipeError, ConnectionResetError):
            pass  # The child has died; its exit status says how.
        code = child.wait()
    finally:
        ours.close()
        theirs.close()
        for descriptor in (*opened, *([folder] if folder >= 0 else [])):
            os.close(descriptor)
    if code < 0:
        raise DataError(
            f"the compile process died (signal {-code}) while reading the inputs",
            "one of them is damaged or too large; nothing was changed",
        )
    return code


def open_policy(path: str) -> int:
    """Open a policy for reading; raises ConfigError if it cannot be."""
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise ConfigError(f"{path}: {error.strerror}", "name a policy file that can be read") from error


def _open_database(path: str) -> int:
    try:
        return os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "name a GeoIP database (.mmdb) that can be read") from error


def _environment() -> dict[str, str]:
    # One thread: numpy's linear algebra would start a pool that nothing here uses and the limits forbid.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "NO_COLOR", "TERM", "LANG") if name in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1"}


def _serve_lists(channel: socket.socket, folder: int) -> None:
    """Answer each name with a descriptor, or with the reason why not, until the child closes its end."""
    while name := channel.recv(MAX_NAME):
        try:
            descriptor = open_beneath(folder, name.decode())
        except (OSError, ValueError) as error:
            channel.sendall(str(getattr(error, "strerror", None) or error).encode())
            continue
        try:
            socket.send_fds(channel, [FOUND], [descriptor])
        finally:
            os.close(descriptor)


def open_beneath(folder: int, name: str) -> int:
    """Open a file inside a folder, given by descriptor, following no link and no `..`; raises OSError, ValueError.

    Root does this for a child that may be under somebody's control, so a name must never lead out of the folder.
    """
    *parents, last = name.split("/")
    if not last or any(part in ("", ".", "..") for part in (*parents, last)):
        raise ValueError("must name a file inside the policy's folder")
    at = os.dup(folder)
    try:
        for part in parents:
            inner = os.open(part, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC, dir_fd=at)
            os.close(at)
            at = inner
        return os.open(last, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=at)
    finally:
        os.close(at)
