# SPDX-License-Identifier: Apache-2.0
"""Where the operator is logged in from: the SSH connection that a command was typed in.

sshd names it in SSH_CONNECTION. sudo and systemd take the variable away, so the processes above this one are asked
too, and without any of them the sessions of systemd-logind: their far ends have logged in, while anybody may have a
connection open to the port.
"""

from __future__ import annotations

import os
import re
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, Self

from geodrop.inputs import read_regular

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

    from geodrop.linux.connections import TcpConnection

Address = IPv4Address | IPv6Address

VARIABLE = "SSH_CONNECTION"
SSH = 22
SESSIONS = "/run/systemd/sessions"
MAX_ANCESTORS, MAX_SESSIONS = 64, 256
MAX_SIZE = 1 << 20
"""Bytes of an environment, or of the file of a session."""

_PARENT = re.compile(rb"^PPid:\t(\d+)$", re.MULTILINE)
_REMOTE_HOST = re.compile(r"^REMOTE_HOST=(\S+)$", re.MULTILINE)


class SshPeer(NamedTuple):
    """The far end of an SSH connection, and the local address and port."""

    peer: Address
    local: Address
    port: int

    @classmethod
    def of(cls, text: str) -> Self | None:
        """Return what SSH_CONNECTION says: the client's address and port, then the server's; None if it is damaged."""
        try:
            peer, _, local, port = text.split()
            found = cls(_plain(peer), _plain(local), int(port))
        except ValueError:
            return None
        return found if 0 < found.port <= 0xFFFF else None

    def as_text(self) -> str:
        """Return the connection as SSH_CONNECTION would say it; `of` is the inverse. The client's port is left open."""
        return f"{self.peer} 0 {self.local} {self.port}"


def of_this_command(environment: Mapping[str, str] = os.environ) -> SshPeer | None:
    """Return the SSH connection that this process was started from; None if it is not known."""
    if VARIABLE in environment:
        return SshPeer.of(environment[VARIABLE])
    process = os.getppid()
    for _ in range(MAX_ANCESTORS):
        if process <= 1:
            return None
        try:
            variables = read_regular(f"/proc/{process}/environ", MAX_SIZE).split(b"\0")
            status = read_regular(f"/proc/{process}/status", MAX_SIZE)
        except (FileNotFoundError, ProcessLookupError, PermissionError):
            return None  # it has ended, or is not ours to ask
        found = next((one for one in variables if one.startswith(b"SSH_CONNECTION=")), None)
        if found is not None:
            return SshPeer.of(found.partition(b"=")[2].decode(errors="replace"))
        parent = _PARENT.search(status)
        process = int(parent[1]) if parent else 0
    return None


def logged_in(connections: Callable[[], Iterable[TcpConnection]], sessions: str = SESSIONS) -> list[SshPeer]:
    """Return the open connections to port 22 whose far end has a session of systemd-logind.

    `connections` is only called if there is such a session.
    """
    hosts = set(_hosts(sessions))
    found = connections() if hosts else ()
    return [SshPeer(one.peer, one.local, one.port) for one in found if one.port == SSH and one.peer in hosts]


def _hosts(sessions: str) -> Iterable[Address]:
    try:
        names = sorted(os.listdir(sessions))[:MAX_SESSIONS]
    except (FileNotFoundError, PermissionError, NotADirectoryError):
        return  # no systemd-logind here
    for name in names:
        if name.endswith(".ref"):
            continue  # a FIFO beside the file of its session
        try:
            text = read_regular(Path(sessions, name), MAX_SIZE).decode(errors="replace")
            if found := _REMOTE_HOST.search(text):
                yield _plain(found[1])
        except (FileNotFoundError, PermissionError, ValueError):
            continue  # the session has ended, or its far end has a name and no address


def _plain(text: str) -> Address:
    """Return an address without the interface of a link-local one; IPv4 inside IPv6 as IPv4. Raises ValueError."""
    address = ip_address(text.partition("%")[0])
    return (address.ipv4_mapped or address) if isinstance(address, IPv6Address) else address
