"""The control sockets: who may connect, how long a request may take, and that nobody is in another's way.

`control.sock` is for the service's own group and answers every verb; `monitor/control.sock` beside it is for those who
may only read. A connection carries one request. Each socket has a number of places for clients; when all are taken, the
connection that has waited longest without having made its request gives way to a new one, so that whoever asks at once
is served whatever else is connected.
"""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import stat
import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from geodrop.control import frame
from geodrop.control.client import MONITOR
from geodrop.errors import EXIT_BUG, BusyError, ConfigError, GeodropError, PrivilegeError, UnavailableError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping
    from pathlib import Path

    from geodrop.daemon.log import Logger

GROUP_OF_READERS = "geodrop-monitor"
PLACES = 32
"""Clients at a time on one socket."""
BACKLOG = 128
REQUEST_SECONDS = 5.0
"""For a client to make its request, from connecting on."""
ANSWER_SECONDS = 10.0
"""For a client to take a part of the answer."""
SO_PEERGROUPS = 59  # asm-generic/socket.h; the socket module has no name for it
MAX_GROUPS = 256
"""Python's getsockopt takes no more than 1024 bytes. Who is in more groups is known by its user and first group."""
UCRED = struct.Struct("=iII")  # struct ucred in unix(7): pid, uid, gid


@dataclass(frozen=True, slots=True)
class Peer:
    """Who is at the other end, as the kernel says."""

    pid: int
    uid: int
    groups: frozenset[int]

    @classmethod
    def of(cls, channel: socket.socket) -> Peer:
        """The credentials that the process had when it connected; the pid may be gone since."""
        pid, uid, gid = UCRED.unpack(channel.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, UCRED.size))
        groups = b""
        with contextlib.suppress(OSError):
            groups = channel.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, 4 * MAX_GROUPS)
        return cls(pid, uid, frozenset((gid, *memoryview(groups).cast("I"))))


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked, by whom, and on which socket; `say` tells the client how far it is."""

    verb: str
    args: Mapping[str, Any]
    peer: Peer
    only_reading: bool
    say: Callable[[str], None]


class Server:
    """Both control sockets. `answer` gives the fields of the last message for a request, or raises GeodropError."""

    def __init__(self, answer: Callable[[Request], Awaitable[Mapping[str, Any]]], log: Logger) -> None:
        self._answer = answer
        self._log = log
        self._servers: list[asyncio.Server] = []
        self._paths: list[Path] = []

    async def open(self, control: Path) -> None:
        """Listen. Raises BusyError if somebody answers there, ConfigError if it cannot be made."""
        await self._listen(control, None, only_reading=False)
        with contextlib.suppress(KeyError):
            readers = grp.getgrnam(GROUP_OF_READERS).gr_gid
            await self._listen(control.parent / MONITOR, readers, only_reading=True)

    async def close(self) -> None:
        """Take no more requests, and leave no socket behind."""
        for server in self._servers:
            server.close()
        for path in self._paths:
            path.unlink(missing_ok=True)

    async def _listen(self, path: Path, group: int | None, *, only_reading: bool) -> None:
        channel = bind(path, group)
        if channel is None:
            self._log.warning("no socket for readers", socket=str(path), group=GROUP_OF_READERS)
            return
        self._paths.append(path)
        door = _Door(self._answer, self._log, only_reading=only_reading)
        server = await asyncio.start_unix_server(door.enter, sock=channel, limit=frame.MAX_REQUEST, backlog=BACKLOG)
        self._servers.append(server)


def bind(path: Path, group: int | None) -> socket.socket | None:
    """A socket in the place of one that a dead daemon left; readable and writable for its group, and nobody else.

    Raises BusyError, ConfigError. None if it may not be given to that group.
    """
    channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
    try:
        _remove_stale(path)
        path.parent.mkdir(mode=0o755, parents=True, exist_ok=True)
        # Nobody can connect before listen(2).
        channel.bind(str(path))
        os.chmod(path, 0o660)
        if group is not None and os.stat(path).st_gid != group:
            os.chown(path, -1, group)
    except PermissionError as error:
        channel.close()
        if group is None:
            raise PrivilegeError(f"{path}: {error.strerror}", "run as root, or give its folder to this user") from error
        path.unlink(missing_ok=True)
        return None
    except OSError as error:
        channel.close()
        raise ConfigError(f"{path}: {error.strerror or error}", "name another `socket` in agent.yaml") from error
    except GeodropError:
        channel.close()
        raise
    return channel


def _remove_stale(path: Path) -> None:
    try:
        found = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISSOCK(found.st_mode):
        raise ConfigError(f"{path} is no socket", "name another `socket` in agent.yaml, or move that file away")
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink(missing_ok=True)
            return
    raise BusyError(f"somebody answers on {path} already", "name another `socket` in agent.yaml")


class _Door:
    """One listening socket and the clients that have a place at it."""

    def __init__(
        self, answer: Callable[[Request], Awaitable[Mapping[str, Any]]], log: Logger, *, only_reading: bool
    ) -> None:
        self._answer = answer
        self._log = log
        self._only_reading = only_reading
        self._silent: dict[asyncio.Task[Any], None] = {}
        """Connections without a request so far, in the order in which they came."""
        self._serving = 0

    async def enter(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Serve one connection to its end; whatever the client does, nothing is raised."""
        task = asyncio.current_task()
        assert task is not None  # noqa: S101 - a coroutine is run by one
        self._silent[task] = None
        if len(self._silent) > PLACES:
            next(iter(self._silent)).cancel()
        try:
            with contextlib.suppress(ConnectionError, asyncio.IncompleteReadError, TimeoutError):
                await self._serve(reader, writer, task)
        except asyncio.CancelledError:
            # It gave its place to another, or the daemon stops.
            pass
        finally:
            self._silent.pop(task, None)
            writer.transport.abort() if writer.transport.get_write_buffer_size() else writer.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, task: asyncio.Task[Any]) -> None:
        peer = Peer.of(writer.get_extra_info("socket"))
        try:
            async with asyncio.timeout(REQUEST_SECONDS):
                message = await _read(reader)
            del self._silent[task]
            if self._serving >= PLACES:
                raise BusyError("too many requests at once", "try again in a moment")
            verb, args = message.get("verb"), message.get("args", {})
            if not isinstance(verb, str) or not isinstance(args, dict):
                raise UnavailableError("a request has no verb, or no arguments", "upgrade the command")
        except GeodropError as failure:
            await _write(writer, _failure(failure))
            return
        self._serving += 1
        try:
            # Progress is dropped rather than kept for a client that does not read.
            request = Request(verb, args, peer, self._only_reading, lambda text: _say(writer, text))
            await _write(writer, await self._outcome(request))
        finally:
            self._serving -= 1

    async def _outcome(self, request: Request) -> Mapping[str, Any]:
        try:
            return {"exit": 0, **await self._answer(request)}
        except GeodropError as failure:
            return _failure(failure)
        except Exception:  # noqa: BLE001 - a bug in one verb; enforcement and the other verbs go on
            self._log.exception("a bug; please report it", verb=request.verb)
            return {"exit": EXIT_BUG, "error": "the daemon met a bug", "next_step": "see journalctl -u geodrop"}


async def _read(reader: asyncio.StreamReader) -> dict[str, Any]:
    size = frame.length(await reader.readexactly(frame.HEADER.size), frame.MAX_REQUEST)
    return frame.decode(await reader.readexactly(size))


async def _write(writer: asyncio.StreamWriter, message: Mapping[str, Any]) -> None:
    """Raises TimeoutError for a client that takes nothing of it for a while."""
    view = memoryview(frame.encode(message))
    for at in range(0, len(view), frame.MAX_REQUEST):
        writer.write(view[at : at + frame.MAX_REQUEST])
        async with asyncio.timeout(ANSWER_SECONDS):
            await writer.drain()
    # drain() is content with little left; abort() would cut that off.
    async with asyncio.timeout(ANSWER_SECONDS):
        writer.close()
        await writer.wait_closed()


def _say(writer: asyncio.StreamWriter, text: str) -> None:
    if not writer.is_closing() and writer.transport.get_write_buffer_size() == 0:
        writer.write(frame.encode({"progress": text}))


def _failure(failure: GeodropError) -> dict[str, Any]:
    answer = {"exit": failure.exit_code, "error": failure.message, "next_step": failure.next_step}
    return {**answer, "printed": failure.printed} if failure.printed else answer
