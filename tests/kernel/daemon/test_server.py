# SPDX-License-Identifier: Apache-2.0
"""The control sockets among hostile and clumsy clients: a well-behaved client is served at once, whatever they do."""

from __future__ import annotations

import asyncio
import contextlib
import grp
import os
import socket
import struct
import subprocess
import sys
import time
from typing import TYPE_CHECKING

import pytest
import structlog

from geodrop.control import frame
from geodrop.control.client import MONITOR
from geodrop.daemon.listener import PLACES
from geodrop.daemon.server import ControlRequest, ControlServer, Peer, bind
from geodrop.errors import BusyError, ConfigError
from tests.support.daemons import daemon
from tests.support.users import as_user, open_to_others

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from tests.kernel.daemon.conftest import Host
    from tests.support.daemons import Daemon

AT_LAST = 60.0
"""Seconds after which clients that do not receive their answers must be cut off, however busy the machine is."""

AT_ONCE = 3.0
"""Seconds for a command on a busy machine: less than the 5 that a silent client may keep its place."""

STATUS = frame.encode({"verb": "status", "args": {}})


def connect(running: Daemon) -> socket.socket:
    """Return a client."""
    channel = socket.socket(socket.AF_UNIX)
    channel.connect(str(running.control))
    channel.settimeout(20)
    return channel


def answer(channel: socket.socket) -> dict[str, object]:
    """Return the last message on a connection."""
    received = b""
    while piece := channel.recv(1 << 16):
        received += piece
    [size] = frame.HEADER.unpack(received[: frame.HEADER.size])
    assert len(received) == frame.HEADER.size + size
    return frame.decode(received[frame.HEADER.size :])


@contextlib.contextmanager
def undisturbed(host: Host, running: Daemon) -> Iterator[None]:
    """During the body status answers in time; afterwards no connection or descriptor is left."""
    before = running.descriptors()
    yield
    began = time.monotonic()
    assert host.geodrop.good("status", "--json").json["daemon"] is True
    assert time.monotonic() - began < AT_ONCE
    assert host.geodrop.good("reload").code == 0
    assert running.process.poll() is None
    assert "Traceback" not in running.log
    assert running.descriptors() <= before + PLACES + 8


@pytest.mark.parametrize(
    "sent",
    [
        b"",
        b"\0",
        STATUS[:-1],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        struct.pack(">I", 0xFFFF_FFFF),
        struct.pack(">I", frame.MAX_REQUEST + 1) + bytes(100),
        struct.pack(">I", 0),
        struct.pack(">I", 4) + b"null",
        struct.pack(">I", 4) + b"\xff\xfe\xfd\xfc",
        struct.pack(">I", 50_000) + b"[" * 50_000,
        frame.encode({}),
        frame.encode({"verb": 7}),
        frame.encode({"verb": "status", "args": [1]}),
        frame.encode({"verb": "explain", "args": {"addresses": [1, 2], "at": None}}),
        frame.encode({"verb": "explain", "args": {"addresses": ["1.1.1.1"] * 5000, "at": None}}),
        frame.encode({"verb": "explain", "args": {"addresses": [], "at": "x"}}),
        frame.encode({"verb": "verify", "args": {}}),
        frame.encode({"verb": "__class__", "args": {}}),
        frame.encode({"verb": "status"}).replace(b'"v":1', b'"v":9'),
    ],
    ids=range(19),
)
def test_garbage(host: Host, running: Daemon, sent: bytes) -> None:
    """Half a frame, no frame, a huge one, JSON that is no request: each is refused, or waited for without harm."""
    with undisturbed(host, running), connect(running) as channel:
        channel.sendall(sent)


def test_each_refusal_says_why(running: Daemon) -> None:
    """A client of another version learns what is wrong."""
    cases = [
        (frame.encode({"verb": "fly", "args": {}}), 2, "no verb 'fly'"),
        (STATUS.replace(b'"v":1', b'"v":9'), 69, "version"),
        (struct.pack(">I", 0xFFFF_FFFF), 69, "65,536 is the most"),
        (struct.pack(">I", 4) + b"nope", 69, "not JSON"),
        (frame.encode({"verb": "verify", "args": {"full": 5}}), 2, "`full`"),
    ]
    for sent, code, message in cases:
        with connect(running) as channel:
            channel.sendall(sent)
            found = answer(channel)
            assert found["exit"] == code
            assert message in str(found["error"])


def test_who_says_nothing_gives_way(host: Host, running: Daemon) -> None:
    """With every place taken by silent clients, the next one is served at once; the silent ones are closed later."""
    with undisturbed(host, running), contextlib.ExitStack() as stack:
        silent = [stack.enter_context(connect(running)) for _ in range(3 * PLACES)]
        assert host.geodrop.good("status").code == 0
        assert silent[0].recv(1) == b""
        # The last ones kept their places until their time was up.
        assert silent[-1].recv(1) == b""


def test_thousands_of_connections(host: Host, running: Daemon) -> None:
    """A flood, half of it with half a frame, leaves no descriptor behind and blocks no other client."""
    with undisturbed(host, running):
        for number in range(5000):
            with connect(running) as channel:
                if number % 2:
                    channel.sendall(STATUS[: number % len(STATUS)])
            if number % 1000 == 0:
                assert host.geodrop.good("status").code == 0


def test_answers_that_nobody_reads(host: Host, running: Daemon) -> None:
    """Clients that ask for much and never read hold only their own places, and not for long."""
    large = frame.encode({"verb": "explain", "args": {"addresses": ["1.0.0.1"] * 256, "at": None}})
    with undisturbed(host, running), contextlib.ExitStack() as stack:
        for _ in range(PLACES):
            channel = stack.enter_context(connect(running))
            channel.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1024)
            channel.sendall(large)
        began = time.monotonic()
        while host.geodrop.run("status").code != 0:
            assert time.monotonic() - began < AT_LAST


def test_slow_writers_are_cut_off(running: Daemon) -> None:
    """A byte now and then does not keep a place forever: the whole request has a time limit."""
    with connect(running) as channel:
        began = time.monotonic()
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):
            channel.settimeout(0.2)
            for at in range(100):
                channel.sendall(STATUS[:4] if at == 0 else b" ")
                with contextlib.suppress(TimeoutError):
                    if channel.recv(1) == b"":
                        break
        assert 4 < time.monotonic() - began < 60


ASKING = """
import sys
from geodrop.control import client
client.control_socket = lambda: sys.argv[1]
try:
    client.ask("status")
except Exception as failure:
    print(type(failure).__name__, failure)
"""


def test_strangers_have_no_way_in(host: Host, running: Daemon) -> None:
    """The socket's mode refuses other users, and the message says which rights are needed."""
    assert running.control.stat().st_mode & 0o777 == 0o660
    open_to_others(host.folder)
    asking = [*as_user(), sys.executable, "-c", ASKING, str(running.control)]
    done = subprocess.run(asking, check=True, capture_output=True, text=True)
    assert done.stdout.startswith("PrivilegeError")
    assert "geodrop-monitor" in done.stdout


def test_the_socket_of_a_dead_daemon_is_replaced(tmp_path: Path) -> None:
    """A socket file without a server is taken over; one with a server, or another file, is not."""
    path = tmp_path / "control.sock"
    for _ in range(2):
        channel = bind(path, None)
        assert channel is not None
        channel.listen()
        with pytest.raises(BusyError, match="answers on"):
            bind(path, None)
        channel.close()
    path.unlink()
    path.write_text("precious")
    with pytest.raises(ConfigError, match="is no socket"):
        bind(path, None)
    assert path.read_text() == "precious"
    with pytest.raises(ConfigError):
        bind(tmp_path / ("x" * 200), None)


def test_socket_folder_that_is_missing_is_made(host: Host) -> None:
    """`socket` in agent.yaml may name a folder below /run that is gone after a boot; commands find it all the same."""
    agent = host.folder / "agent.yaml"
    agent.write_text(agent.read_text().replace("control.sock", "run/geodrop/c.sock"))
    with daemon(host.geodrop):
        agent.unlink()
        agent.write_text("")
        assert host.geodrop.good("status", "--json").json["daemon"] is True


def test_readers_have_a_door_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A request through the readers' socket is marked as such, and carries the client's credentials."""
    monkeypatch.setattr(
        "geodrop.daemon.server.grp.getgrnam",
        lambda name: grp.struct_group((name, "x", os.getegid(), [])),
    )
    requests: list[ControlRequest] = []

    async def answer(request: ControlRequest) -> dict[str, str]:
        requests.append(request)
        return {"text": "fine"}

    async def body() -> None:
        server = ControlServer(answer, structlog.get_logger())
        server.open(tmp_path / "control.sock")
        for path in (tmp_path / "control.sock", tmp_path / MONITOR):
            reader, writer = await asyncio.open_unix_connection(path)
            writer.write(STATUS)
            answered = await reader.read()
            assert frame.decode(answered[frame.HEADER.size :])["text"] == "fine"
            writer.close()
        server.close()
        assert not (tmp_path / MONITOR).exists()

    asyncio.run(body())
    assert [request.only_reading for request in requests] == [False, True]
    assert {(request.peer.pid, request.peer.uid) for request in requests} == {(os.getpid(), os.geteuid())}
    assert all(os.getegid() in request.peer.groups for request in requests)


@pytest.mark.parametrize(
    ("uid", "said", "known"),
    [(0, "alice", "alice"), (1000, "alice", ""), (0, "\x1b[2K", ""), (0, 7, ""), (0, "x" * 65, "")],
    ids=["root", "a user who claims it", "what would steer a terminal", "no text", "no name"],
)
def test_only_root_says_who_became_root(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, uid: int, said: object, known: str
) -> None:
    """The name that sudo gives is believed from root, if it is a name; the request is answered in any case."""
    names: list[str] = []

    async def answer(request: ControlRequest) -> dict[str, str]:
        names.append(request.sudo_user)
        return {}

    async def body() -> None:
        server = ControlServer(answer, structlog.get_logger())
        server.open(tmp_path / "control.sock")
        reader, writer = await asyncio.open_unix_connection(tmp_path / "control.sock")
        writer.write(frame.encode({"verb": "status", "args": {}, "sudo_user": said}))
        assert frame.decode((await reader.read())[frame.HEADER.size :])["exit"] == 0
        writer.close()
        server.close()

    monkeypatch.setattr(Peer, "of", lambda _: Peer(1, uid, frozenset()))
    asyncio.run(body())
    assert names == [known]
