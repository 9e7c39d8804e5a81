# SPDX-License-Identifier: Apache-2.0
"""Serve the control sockets: who may connect, how long a request may take, and how many requests run at once.

`control.sock` is for the service's own group and answers every verb; `monitor/control.sock` beside it is for users who
may only read. A connection carries one request. Each socket has separate places for connections without a request, and
for requests of each kind: readers never take the places of changes, and one socket never takes those of the other.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import grp
import socket
import struct
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop.control import frame
from geodrop.control.client import MONITOR
from geodrop.daemon import socket_file
from geodrop.daemon.event import Event
from geodrop.daemon.listener import LEFT, PLACES, Listener
from geodrop.errors import (
    EXIT_BUG,
    BusyError,
    ConfigError,
    GeodropError,
    HeldError,
    PrivilegeError,
    UnavailableError,
)
from geodrop.state.asker import is_name

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterator, Mapping
    from pathlib import Path

    from geodrop.daemon.listener import OpenConnection
    from geodrop.daemon.log import Logger

GROUP_OF_READERS = "geodrop-monitor"
SHARE = PLACES * 3 // 4
"""How many places of one kind one user may have at a socket."""
REQUEST_SECONDS = 5.0
"""For a client to send its request, counted from connecting."""
ANSWER_SECONDS = 20.0
"""For a client to receive the whole answer."""
LEFT_TO_CHANGES = LEFT // 2
"""The control socket may use descriptors that other sockets must leave free."""
SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module has no name for it
MAX_GROUPS = 256
"""Python's getsockopt returns at most 1024 bytes. A peer in more groups is identified by uid and primary gid only."""
UCRED = struct.Struct("=iII")  # struct ucred in unix(7): pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """The process at the other end, as the kernel reports it."""

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, channel: socket.socket) -> Peer:
        """Return the credentials that the process had when it connected; the process may have ended since."""
        pid, uid, gid = UCRED.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        groups = b""
        with contextlib.suppress(OSError):
            groups = channel.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MAX_GROUPS)
        return cls(pid, uid, frozenset((gid, *memoryview(groups).cast("I"))))


@dataclass(frozen=True, slots=True)
class ControlRequest:
    """A request: the verb, its arguments, the peer and the socket; `say` reports progress to the client."""

    verb: str
    args: Mapping[str, Any]
    peer: Peer
    only_reading: bool
    say: Callable[[str], None]
    sudo_user: str = ""


class ControlServer:
    """Both control sockets. `answer` returns the fields of the last message to a request, or raises GeodropError.

    `kind_of` gives the kind of a verb: each kind has its own places, all equally many.
    """

    def __init__(
        self,
        answer: Callable[[ControlRequest], Awaitable[Mapping[str, Any]]],
        log: Logger,
        kind_of: Callable[[str], str] = lambda _: "any",
    ) -> None:
        self._answer, self._kind_of = answer, kind_of
        self._log = log
        self._listeners: list[Listener] = []
        self._paths: list[Path] = []

    def open(self, control: Path) -> None:
        """Listen. Raises BusyError if another process answers there, ConfigError if the socket cannot be made."""
        self._listen(control, None, only_reading=False)
        with contextlib.suppress(KeyError):
            readers = grp.getgrnam(GROUP_OF_READERS).gr_gid
            self._listen(control.parent / MONITOR, readers, only_reading=True)

    def close(self) -> None:
        """Stop accepting requests and remove the sockets."""
        for listener in self._listeners:
            listener.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    def _listen(self, path: Path, group: int | None, *, only_reading: bool) -> None:
        channel = bind(path, group)
        if channel is None:
            self._log.warning(
                "no socket for readers", kind=Event.NO_SOCKET_FOR_READERS, socket=str(path), group=GROUP_OF_READERS
            )
            return
        self._paths.append(path)
        door = _Door(self._answer, self._kind_of, self._log, only_reading=only_reading)
        self._listeners.append(Listener(channel, door.serve, left=LEFT if only_reading else LEFT_TO_CHANGES))


def bind(path: Path, group: int | None) -> socket.socket | None:
    """Bind a control socket. Raises BusyError, PrivilegeError, ConfigError. None if that group may not have it."""
    try:
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        return socket_file.bind(str(path), group)
    except PermissionError as error:
        if group is None:
            raise PrivilegeError(f"{path}: {error.strerror}", "run as root, or give its folder to this user") from error
        path.unlink(missing_ok=True)
        return None
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise BusyError(
                f"another process answers on {path} already", "name another `socket` in agent.yaml"
            ) from error
        raise ConfigError(f"{path}: {error.strerror or error}", "name another `socket` in agent.yaml") from error


class _Door:
    """One listening socket, and the requests that have a place at it."""

    def __init__(
        self,
        answer: Callable[[ControlRequest], Awaitable[Mapping[str, Any]]],
        kind_of: Callable[[str], str],
        log: Logger,
        *,
        only_reading: bool,
    ) -> None:
        self._answer, self._kind_of = answer, kind_of
        self._log = log
        self._only_reading = only_reading
        self._taken: Counter[tuple[str, int]] = Counter()
        """Places taken, by kind and user."""

    async def serve(self, connection: OpenConnection) -> None:
        """Serve one connection. Raises ConnectionError or TimeoutError if the client leaves or is too slow."""
        peer = Peer.of(connection.channel)
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                message = await _read(connection)
            verb, args = message.get("verb"), message.get("args", {})
            if not isinstance(verb, str) or not isinstance(args, dict):
                raise UnavailableError("a request has no verb, or no arguments", "upgrade the command")
            with self._place(self._kind_of(verb), peer.uid):
                connection.asked()
                # Progress is dropped, not kept, if the client does not read it.
                say = lambda text: connection.offer(frame.encode({"progress": text}))  # noqa: E731 - bound to this one
                request = ControlRequest(verb, args, peer, self._only_reading, say, _sudo_user(message, peer))
                outcome = await self._outcome(request)
                await _write(connection, outcome)
        except GeodropError as failure:
            await _write(connection, _failure(failure))

    @contextlib.contextmanager
    def _place(self, kind: str, uid: int) -> Iterator[None]:
        """Hold a place for a request. Raises BusyError. Root may take all of them: root could end the daemon anyway."""
        taken = sum(count for (other, _), count in self._taken.items() if other == kind)
        if taken >= PLACES or (uid and self._taken[kind, uid] >= SHARE):
            raise BusyError("too many requests at once", "try again in a moment")
        self._taken[kind, uid] += 1
        try:
            yield
        finally:
            self._taken[kind, uid] -= 1
            self._taken += Counter()  # removes users without places

    async def _outcome(self, request: ControlRequest) -> Mapping[str, Any]:
        try:
            return {"exit": 0, **await self._answer(request)}
        except GeodropError as failure:
            return _failure(failure)
        except Exception:  # noqa: BLE001 - a bug in one verb; enforcement and the other verbs go on
            self._log.exception("a bug; please report it", kind=Event.BUG, verb=request.verb)
            return {"exit": EXIT_BUG, "error": "the daemon met a bug", "next_step": "see journalctl -u geodrop"}


def _sudo_user(message: Mapping[str, Any], peer: Peer) -> str:
    """Return who became root to ask, as the message says: root is believed, since root could write the history too."""
    name = message.get("sudo_user", "")
    return name if peer.uid == 0 and is_name(name) else ""


async def _read(connection: OpenConnection) -> dict[str, Any]:
    size = frame.length(await connection.exactly(frame.HEADER.size), frame.MAX_REQUEST)
    return frame.decode(await connection.exactly(size))


async def _write(connection: OpenConnection, message: Mapping[str, Any]) -> None:
    async with asyncio.timeout(ANSWER_SECONDS):
        await connection.send(frame.encode(message))


def _failure(failure: GeodropError) -> dict[str, Any]:
    answer: dict[str, Any] = {"exit": failure.exit_code, "error": failure.message, "next_step": failure.next_step}
    if isinstance(failure, HeldError):
        answer["held"] = list(failure.held)
    return {**answer, "printed": failure.printed} if failure.printed else answer
