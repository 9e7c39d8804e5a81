# SPDX-License-Identifier: Apache-2.0
import gc
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from geodrop.compile.channel import MAX_DESCRIPTORS, MAX_MESSAGE, receive, send
from geodrop.compile.sandbox import MAX_TEXT, Answer, Child, Job
from geodrop.errors import DataError, UnavailableError, UsageError

Peer = Callable[[socket.socket], None]

FINAL = b'{"exit": 0}'


def answered(peer: Peer, timeout: float = 20.0) -> Answer:
    """Run a job against a child that behaves as `peer` does."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def live() -> None:
        with theirs, suppress(OSError):
            peer(theirs)

    thread = threading.Thread(target=live)
    thread.start()
    try:
        return Child(ours).run(Job("check"), timeout=timeout)
    finally:
        thread.join()


def hears(channel: socket.socket) -> tuple[dict[str, Any], list[int]]:
    """Receive the request as the child would."""
    received = receive(channel, MAX_DESCRIPTORS)
    assert received is not None
    return received


def says(data: bytes, *more: bytes, times: int = 1) -> Peer:
    """Return a child that sends the same message repeatedly, and others after it."""

    def peer(channel: socket.socket) -> None:
        _, given = hears(channel)
        for message in (*[data] * times, *more):
            channel.send(message)
        for descriptor in given:
            os.close(descriptor)

    return peer


@pytest.mark.parametrize(
    ("peer", "reason"),
    [
        (says(b"nonsense"), "broke the rules"),
        (says(b"{}"), "broke the rules.*unknown message"),
        (says(b'{"exit": true}'), "broke the rules.*unknown message"),
        (says(b'{"exit": "0"}'), "broke the rules.*unknown message"),
        (says(b'{"change": [1]}'), "broke the rules.*unknown message"),
        (says(b'{"change": ""}'), "broke the rules.*unknown message"),
        (says(b'{"change": "{"}', FINAL), "broke the rules.*no JSON"),
        (says(b'{"change": "{\\"text\\": 1}"}', FINAL), "broke the rules.*has no"),
        (says(b'{"list": "' + b"x" * MAX_MESSAGE + b'"}'), "broke the rules.*too long"),
        (says(b'{"list": ["a"]}', times=1), "died"),
        (says(FINAL, times=0), "died"),
        (lambda channel: channel.close(), "died"),
    ],
)
def test_whatever_a_child_sends_is_a_refusal(peer: Peer, reason: str) -> None:
    """Nonsense, floods and silence from a child that a hostile input controls give DataError (65), nothing else."""
    gc.collect()  # descriptors of rulesets that earlier tests have let go of
    before = len(os.listdir("/proc/self/fd"))
    with pytest.raises(DataError, match=reason):
        answered(peer)
    assert len(os.listdir("/proc/self/fd")) == before, "no descriptor is lost"


def test_descriptors_from_a_child_are_refused() -> None:
    """Descriptors sent by a child are closed at once, and its answer is refused."""

    def peer(channel: socket.socket) -> None:
        hears(channel)
        send(channel, {"exit": 0}, [0] * 100)

    with pytest.raises(DataError, match="broke the rules"):
        answered(peer)


def test_child_that_asks_on_and_on() -> None:
    """The number of list files that a child may ask for is limited."""

    def peer(channel: socket.socket) -> None:
        hears(channel)
        while True:
            send(channel, {"list": "a"})
            channel.recv(MAX_MESSAGE)

    with pytest.raises(DataError, match=r"broke the rules.*1,024 list files"):
        answered(peer)


def test_child_that_never_answers() -> None:
    """The time is bounded, whether the child is silent, writes without end, or asks and does not read the answer."""

    def silent(channel: socket.socket) -> None:
        hears(channel)
        channel.recv(MAX_MESSAGE)

    def talkative(channel: socket.socket) -> None:
        request, given = hears(channel)
        while True:
            os.write(given[request["streams"][1]], b"x" * 65536)

    for peer in (silent, talkative, says(b'{"list": "a"}', times=100_000)):
        began = time.monotonic()
        with pytest.raises(DataError, match="did not answer in time"):
            answered(peer, timeout=0.3)
        assert time.monotonic() - began < 5


def test_what_a_child_says_is_cut_off() -> None:
    """The output of a child that floods its streams is cut off; the child never blocks, and its answer counts."""

    def peer(channel: socket.socket) -> None:
        request, given = hears(channel)
        for _ in range(64):
            os.write(given[request["streams"][2]], b"x" * 65536)
        os.write(given[request["streams"][1]], b"\xff")
        for descriptor in given:
            os.close(descriptor)
        channel.send(FINAL)

    assert answered(peer) == Answer(0, "x" * MAX_TEXT)


def test_child_that_does_not_end() -> None:
    """A process that ignores SIGTERM and closes its channel is killed."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    stubborn = "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); time.sleep(60)"
    with theirs:
        process = subprocess.Popen([sys.executable, "-c", stubborn])
    with pytest.raises(DataError, match="died"):
        Child(ours, process).run(Job("check"))
    assert process.returncode == -signal.SIGKILL


def test_too_much_for_one_message(tmp_path: Path) -> None:
    """Arguments that do not fit into a message are a usage error (2), as are too many databases."""
    with pytest.raises(UsageError, match="too long"):
        Child.start().run(Job("explain", options={"addresses": ["192.0.2.1"] * 100_000}))
    with pytest.raises(UsageError, match="33 databases"):
        Child.start().run(Job("explain", databases=[str(tmp_path)] * 33))


def test_no_socket_to_connect_to(tmp_path: Path) -> None:
    """Without the unit's socket, the error is 69 and names the command that starts it."""
    with pytest.raises(UnavailableError, match=r"compile\.sock: No such file.*systemctl start"):
        Child.connect(str(tmp_path / "compile.sock"))
