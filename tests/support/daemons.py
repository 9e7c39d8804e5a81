# SPDX-License-Identifier: Apache-2.0
"""`geodrop run` in a namespace; the test takes systemd's place and is told when the daemon is ready."""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import threading
from pathlib import Path
from typing import TYPE_CHECKING

import structlog

from geodrop.config import Config
from geodrop.daemon.compaction import Compaction
from geodrop.daemon.context import DaemonContext
from geodrop.daemon.metrics import Metrics
from geodrop.daemon.notify import Notifier
from geodrop.daemon.reload import Last, Reload
from geodrop.daemon.tasks import Tasks
from geodrop.daemon.verbs import Verbs
from geodrop.daemon.watch.watch import Watch
from tests.support.cli import TIMEOUT, Done

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.cli import Geodrop


class Daemon:
    """A running daemon. `said` holds every message so far that systemd would have received."""

    def __init__(self, geodrop: Geodrop, *arguments: str) -> None:
        self.log_file = geodrop.folder / "daemon.log"
        self.control = geodrop.folder / "control.sock"
        self.said: list[str] = []
        self._notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        address = geodrop.folder / "notify.sock"
        address.unlink(missing_ok=True)
        self._notify.bind(str(address))
        self._messages: queue.SimpleQueue[str] = queue.SimpleQueue()
        threading.Thread(target=self._listen, daemon=True).start()
        with self.log_file.open("ab") as log:
            self.process = subprocess.Popen(
                geodrop.command("run", *arguments), env={**os.environ, "NOTIFY_SOCKET": str(address)}, stderr=log
            )

    @property
    def log(self) -> str:
        """Return everything that daemons of this folder have logged."""
        return self.log_file.read_text()

    def wait_for(self, text: str) -> str:
        """Return the next message that contains a text; fail if the daemon is silent for long."""
        while True:
            try:
                message = self._messages.get(timeout=TIMEOUT)
            except queue.Empty:
                raise AssertionError(f"the daemon never said {text!r}; its log:\n{self.log}") from None
            self.said.append(message)
            if text in message:
                return message

    def end(self, number: int = signal.SIGTERM) -> int:
        """Send a signal, wait for the end and return the exit status."""
        self.process.send_signal(number)
        return self.wait()

    def wait(self) -> int:
        """Wait until the daemon ends by itself."""
        return self.process.wait(TIMEOUT)

    def close(self) -> None:
        """End the daemon in whatever state it is."""
        self.process.kill()
        self.process.wait()
        self._notify.shutdown(socket.SHUT_RD)

    def memory(self, *parts: str) -> int:
        """Return the daemon's memory (PSS) in bytes: all of it, or the named parts of /proc/PID/smaps_rollup."""
        rollup = (self._proc() / "smaps_rollup").read_text()
        found = dict(line.split()[:2] for line in rollup.splitlines()[1:])
        return sum(int(found[f"{part}:"]) for part in parts or ("Pss",)) << 10

    def descriptors(self) -> int:
        """Return the number of open descriptors."""
        return len(list((self._proc() / "fd").iterdir()))

    def threads(self) -> int:
        """Return the number of threads."""
        return len(list((self._proc() / "task").iterdir()))

    def children(self) -> int:
        """Return the number of child processes that it has not waited for."""
        return len(self.child_pids())

    def child_pids(self) -> list[int]:
        """Return their numbers."""
        return [int(pid) for file in self._proc().glob("task/*/children") for pid in file.read_text().split()]

    def _listen(self) -> None:
        # In a thread, like systemd: a daemon must not wait until a test reads.
        with self._notify:
            while message := self._notify.recv(1 << 16):
                self._messages.put(message.decode())

    def _proc(self) -> Path:
        return Path(f"/proc/{self.process.pid}")


@contextlib.contextmanager
def daemon(geodrop: Geodrop) -> Iterator[Daemon]:
    """Start a daemon, wait until it is ready, and end it after the block."""
    made = Daemon(geodrop)
    try:
        made.wait_for("READY=1")
        yield made
    finally:
        made.close()


def together(geodrop: Geodrop, *commands: tuple[str, ...]) -> list[Done]:
    """Run command lines at the same time; return their outcomes in the order given."""
    started = [
        subprocess.Popen(geodrop.command(*command), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
        for command in commands
    ]
    outcomes = [process.communicate(timeout=TIMEOUT) for process in started]
    return [Done(process.returncode, *said) for process, said in zip(started, outcomes, strict=True)]


def daemon_context(config: Config | None = None) -> DaemonContext:
    """Return what the tasks of a daemon share, in this process."""
    log, metrics = structlog.get_logger(), Metrics()
    return DaemonContext(config or Config(), None, Notifier(), log, metrics, Tasks(log, metrics))


def verbs(context: DaemonContext, last: Last | None = None) -> Verbs:
    """Return the request handler of a daemon of this context, whose last reload had the given outcome."""
    compaction = Compaction(context)
    reload = Reload(context, compaction.schedule)
    reload.last = last
    return Verbs(context, reload, Watch(context, compaction.schedule), compaction)
