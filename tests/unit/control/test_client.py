# SPDX-License-Identifier: Apache-2.0
import os
import socket
import struct
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from geodrop.control import client, frame
from geodrop.errors import BusyError, HeldError, UnavailableError, as_object


@pytest.fixture
def control(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the socket where the daemon of this test would answer."""
    path = tmp_path / "control.sock"
    monkeypatch.setattr(client, "control_socket", lambda: str(path))
    return path


class Daemon:
    """Answers one connection with the given bytes, after reading a request."""

    def __init__(self, path: Path, *answer: bytes) -> None:
        self.asked = b""
        self._listening = socket.socket(socket.AF_UNIX)
        self._listening.bind(str(path))
        self._listening.listen()
        self._thread = threading.Thread(target=self._answer, args=answer)
        self._thread.start()

    def _answer(self, *answer: bytes) -> None:
        channel, _ = self._listening.accept()
        with self._listening, channel:
            self.asked = channel.recv(1 << 16)
            for piece in answer:
                channel.sendall(piece)

    def join(self) -> None:
        """Wait for the end of the connection."""
        self._thread.join(10)


@pytest.fixture
def daemons(control: Path) -> Iterator[list[Daemon]]:
    """Collect the daemons that a test starts, and join them afterwards."""
    del control
    made: list[Daemon] = []
    yield made
    for daemon in made:
        daemon.join()


def test_ask(control: Path, daemons: list[Daemon]) -> None:
    """The request is one frame; messages before the answer go to `progress`, in whatever pieces they arrive."""
    whole = frame.encode({"progress": "compiling"}) + frame.encode({"exit": 0, "data": {"a": "é" * 50_000}})
    daemons.append(Daemon(control, whole[:3], whole[3:40], whole[40:]))
    phases: list[str] = []
    answer = client.ask("reload", {"x": 1}, phases.append)
    assert answer == {"v": 1, "exit": 0, "data": {"a": "é" * 50_000}}
    assert phases == ["compiling"]
    daemons[0].join()
    assert daemons[0].asked == frame.encode({"verb": "reload", "args": {"x": 1}})


def test_a_failure_is_raised_as_what_it_is(control: Path, daemons: list[Daemon]) -> None:
    """A reported failure is raised with its exit code, next step and printed lines."""
    failure = {"exit": 75, "error": "too many", "next_step": "wait", "printed": "lines"}
    daemons.append(Daemon(control, frame.encode(failure)))
    with pytest.raises(BusyError, match="too many; wait") as caught:
        client.ask("status")
    assert caught.value.printed == "lines"


def test_the_limits_of_a_held_change(control: Path, daemons: list[Daemon]) -> None:
    """They arrive with the failure."""
    held = [{"limit": "blast_radius", "value": 0.4}]
    daemons.append(Daemon(control, frame.encode({"exit": 5, "error": "held", "held": held})))
    with pytest.raises(HeldError) as caught:
        client.ask("reload")
    assert caught.value.held == held
    assert as_object(caught.value)["held"] == held


@pytest.mark.parametrize(
    "answer", [b"", b"\0\0", frame.encode({"exit": 0})[:-1], struct.pack(">I", frame.MAX_ANSWER + 1), b"\0\0\0\x02no"]
)
def test_a_daemon_that_breaks_off(control: Path, daemons: list[Daemon], answer: bytes) -> None:
    """A daemon that dies or sends nonsense in the middle of an answer gives 69, without a traceback or a wait."""
    daemons.append(Daemon(control, answer))
    with pytest.raises(UnavailableError):
        client.ask("status")


@pytest.mark.parametrize(
    "answer",
    [
        {},
        {"exit": "0"},
        {"exit": True},
        {"exit": 1},
        {"progress": 1},
        {"exit": 0, "text": ["a"]},
        {"exit": 1, "error": ["a"]},
        {"exit": 1, "error": "a", "next_step": {}},
        {"exit": 1, "error": "a", "printed": 1},
        {"exit": 5, "error": "a", "held": {}},
    ],
)
def test_what_is_no_answer(control: Path, daemons: list[Daemon], answer: dict[str, object]) -> None:
    """An invalid answer, as a hijacked daemon may send it, is an error for root's command, not a traceback."""
    daemons.append(Daemon(control, frame.encode(answer)))
    with pytest.raises(UnavailableError, match="not from geodrop's daemon"):
        client.ask("status")


def test_no_daemon(control: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The answer is None if no daemon ever ran, if its socket is gone, or if it died and left its socket."""
    assert client.ask("status") is None
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(control))
        assert client.ask("status") is None
    os.unlink(control)
    monkeypatch.setattr(client, "control_socket", lambda: "")
    assert client.ask("status") is None
