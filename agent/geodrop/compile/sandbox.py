# SPDX-License-Identifier: Apache-2.0
"""Start the compile child and serve it. This side may be root, so it parses nothing.

The child gets open descriptors, not names: inputs may lie in folders that only root can enter. List files are named in
the policy, which only the child reads; it asks for each by name and gets a descriptor, if the file lies inside the
policy's folder. `channel` describes the messages.

The child is a process of ours, or an instance of geodrop-compile@.service at the other end of a socket: then systemd
gives it a user, a root and a system call filter of its own. Whatever the child does or sends, the caller gets an Answer
or a DataError within the given time.
"""

from __future__ import annotations

import errno
import os
import select
import socket
import subprocess
import sys
import time
from contextlib import AbstractContextManager, ExitStack, nullcontext
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple, NoReturn, Self

from geodrop.compile.channel import receive, send
from geodrop.compile.opening import open_database, open_log, open_policy
from geodrop.compile.relay import Relay
from geodrop.errors import DataError, UnavailableError, UsageError, user_name
from geodrop.inputs import open_beneath
from geodrop.ruleset import difference
from geodrop.text import harmless

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping, Sequence

    from geodrop.ruleset.difference import RulesetDiff

TIMEOUT = 300.0
"""Seconds for a job, from the request to the answer."""

MAX_DATABASES = 32
MAX_LISTS = 1024
MAX_LOGS = 32
STANDARD_INPUT = "-"
MAX_TEXT = 1 << 18
"""Most bytes of a child's output that are kept; a policy may have thousands of problems."""

PIECE, PIECES = 1 << 16, 16
"""Bytes of one read from the pipe (a full pipe holds one such piece), and the most reads in a row."""

LONGEST_WORDS = 300

GRACE = 0.2
"""Seconds in which a child may end by itself before it is killed."""


@dataclass(frozen=True, slots=True)
class Job:
    """What a child is asked to do: a task of `compile.child` and its inputs.

    `policy`, `databases` and `logs` are paths, opened here; of `logs` one may be "-", for the child's standard input.
    `output` is a descriptor to write the ruleset to; `ruleset` and
    `previous` are descriptors of sealed memory (ruleset.sealed) with rulesets. `options` are the task's own. `opening`
    is a context that is entered to open each named file, so that the right user's permissions count.
    """

    task: str
    policy: str | None = None
    databases: Sequence[str] = ()
    output: int | None = None
    ruleset: Sequence[int] = ()
    previous: Sequence[int] = ()
    logs: Sequence[str] = ()
    options: Mapping[str, Any] = field(default_factory=dict)
    opening: Callable[[], AbstractContextManager[object]] = nullcontext


class Answer(NamedTuple):
    """A child's answer: the exit code of the verb, its text output, and the change that it found.

    `text` is empty if the child wrote to streams of the caller. `change` is None if nothing was compared.
    """

    exit: int
    text: str = ""
    change: RulesetDiff | None = None


class Identity(NamedTuple):
    """The identity of a file as it is now: it differs for another file, and for the same file after a write."""

    device: int
    inode: int
    size: int
    changed: int
    touched: int

    @classmethod
    def of(cls, file: int | str) -> Self:
        """Return the identity of an open descriptor or a path, with mtime and ctime in nanoseconds. Raises OSError."""
        found = os.stat(file)
        return cls(found.st_dev, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


def run(
    job: Job,
    timeout: float | None = TIMEOUT,
    *,
    reads: bool = False,
    meanwhile: Callable[[], object] = lambda: None,
) -> int:
    """Do a job in a child with its output relayed to ours (and our input to it if it `reads`); return its exit code.

    `meanwhile` is called while the child starts, which takes a quarter of a second. Raises as `Child.run`.
    """
    with Relay(reads=reads) as relay, Child.start() as child:
        meanwhile()
        return child.run(job, relay.streams, timeout, asked=relay.hand_over).exit


class Child:
    """A compile child that has imported everything and waits; it serves one job. Not thread-safe."""

    def __init__(self, channel: socket.socket, process: subprocess.Popen[bytes] | None = None) -> None:
        self._channel = channel
        self._process = process
        self._prepared: tuple[Identity, ...] | None = None
        self._last_words = ""

    @classmethod
    def start(cls) -> Self:
        """Start a child process. Raises UnavailableError."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            try:
                process = subprocess.Popen(
                    # -P: with -m alone, Python would import from the current folder first, which others may write to.
                    [sys.executable, "-P", "-m", "geodrop.compile.child", str(theirs.fileno())],
                    pass_fds=[theirs.fileno()],
                    stdin=subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL,
                    stderr=subprocess.PIPE,
                    env=_environment(),
                    start_new_session=True,  # no controlling terminal that it could open or signal
                )
            except OSError as error:
                ours.close()
                raise UnavailableError(
                    f"the compile process cannot be started ({error.strerror})", "free memory or processes"
                ) from error
        return cls(ours, process)

    @classmethod
    def connect(cls, path: str) -> Self:
        """Have systemd start an instance of geodrop-compile@.service, by connecting. Raises UnavailableError."""
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        try:
            channel.connect(path)
        except OSError as error:
            channel.close()
            raise UnavailableError(
                f"{path}: {error.strerror}", "start it with: systemctl start geodrop-compile.socket"
            ) from error
        return cls(channel)

    def prepare(self, databases: Sequence[str], previous: Sequence[int] = ()) -> None:
        """Have the child read in advance what its job will need: databases, a ruleset to compare with. Does not wait.

        Raises DataError if a database cannot be opened. The job reports what is wrong with the databases, and whether
        the child has died.
        """
        with ExitStack() as stack:
            given = _Given(stack)
            request = given.inputs(Job("prepare", databases=databases, previous=previous))
            self._prepared = tuple(Identity.of(given.descriptors[item["fd"]]) for item in request["databases"])
            self._channel.settimeout(GRACE)
            try:
                send(self._channel, {"prepare": request}, given.descriptors)
            except OSError:
                self.close()

    def is_fit(self, databases: Sequence[str]) -> bool:
        """Return whether the child waits, and has read no databases other than these as they are now."""
        if self._channel.fileno() < 0 or select.select([self._channel], [], [], 0)[0]:
            return False  # Before a task, the channel becomes readable only if the child has died.
        try:
            return self._prepared is None or self._prepared == tuple(map(Identity.of, databases))
        except OSError:
            return False

    def run(
        self,
        job: Job,
        streams: Sequence[int] | None = None,
        timeout: float | None = TIMEOUT,
        asked: Callable[[], None] = lambda: None,
    ) -> Answer:
        """Do the job; afterwards the child has ended.

        `streams` are descriptors for the child's stdin, stdout and stderr; `asked` is called once they have been sent,
        so that the caller can close its own. Without `streams` the output is in the answer.

        Raises ConfigError for a policy and DataError for a database that cannot be opened, PrivilegeError if this user
        lacks the right; DataError also for a child that dies, breaks the rules of the channel, or takes longer than
        `timeout` seconds.
        """
        deadline = time.monotonic() + timeout if timeout is not None else None
        conversation = _Conversation(self._channel, deadline, job.opening)
        with self, ExitStack() as stack:
            given = _Given(stack)
            request = given.inputs(job)
            if streams is None:
                conversation.listen(stack)
                streams = conversation.streams
            request["streams"] = [given.add(stream) for stream in streams]
            try:
                conversation.ask(request, given.descriptors)
                conversation.close_streams()
                asked()
                code = conversation.serve(given.folder)
                change = difference.of_json(told) if (told := conversation.change()) else None
            except (OSError, ValueError) as failure:
                self._raise(failure)
            return Answer(code, conversation.text(), change)

    def _raise(self, failure: Exception) -> NoReturn:
        if isinstance(failure, OSError) and failure.errno == errno.EMSGSIZE:
            raise UsageError("the arguments are too long", "give addresses on standard input, with: -") from failure
        next_step = "one of them is damaged or too large; nothing was changed"
        if isinstance(failure, TimeoutError):
            raise DataError("the compile process did not answer in time", next_step) from failure
        if not isinstance(failure, ConnectionError):
            raise DataError(f"the compile process broke the rules ({failure})", next_step) from failure
        code = self.close()
        how = f" (signal {-code})" if code is not None and code < 0 else ""
        if self._last_words:
            raise UnavailableError(f"the compile process could not start: {self._last_words}") from failure
        raise DataError(f"the compile process died{how} while reading the inputs", next_step) from failure

    def close(self) -> int | None:
        """End the child; return its exit status, negative for a signal, None if it is not a process of ours."""
        self._channel.close()
        if self._process is None:
            return None
        try:
            # A child that waits or has answered ends by itself once the channel is closed.
            return self._process.wait(GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            return self._process.wait()
        finally:
            self._hear_last_words()

    def _hear_last_words(self) -> None:
        """Keep the last line that our process wrote before it got its job's streams: why it could not start."""
        if self._process and (pipe := self._process.stderr) and not pipe.closed:
            os.set_blocking(pipe.fileno(), False)
            lines = (pipe.read(PIECE) or b"").decode(errors="replace").split("\n")
            pipe.close()
            self._last_words = harmless(next(filter(None, reversed(lines)), ""))[:LONGEST_WORDS]

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class _Given:
    """The descriptors of a request, and `folder`, a descriptor of the policy's folder (-1: none)."""

    def __init__(self, stack: ExitStack) -> None:
        self._stack = stack
        self.descriptors: list[int] = []
        self.folder = -1

    def add(self, descriptor: int) -> int:
        """Add a descriptor; return its index, by which the request names it."""
        self.descriptors.append(descriptor)
        return len(self.descriptors) - 1

    def inputs(self, job: Job) -> dict[str, Any]:
        """Open a job's inputs; return the request without its streams. Raises as `Child.run`."""
        if len(job.databases) > MAX_DATABASES:
            raise UsageError(f"{len(job.databases)} databases", f"give at most {MAX_DATABASES}")
        request: dict[str, Any] = {"task": job.task, "options": job.options}
        if job.policy is not None:
            with job.opening():
                request["policy"] = {"name": job.policy, "fd": self._open(open_policy, job.policy)}
            self.folder = os.open(os.path.dirname(job.policy) or ".", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
            self._stack.callback(os.close, self.folder)
        with job.opening():
            request["databases"] = [
                {"name": os.path.basename(path), "fd": self._open(open_database, path)} for path in job.databases
            ]
        if job.logs:
            request["logs"] = self._logs(job.logs)
        if job.output is not None:
            request["output"] = self.add(job.output)
        for name in ("ruleset", "previous"):
            if descriptors := getattr(job, name):
                request[name] = [self.add(descriptor) for descriptor in descriptors]
        return request

    def _logs(self, logs: Sequence[str]) -> list[dict[str, Any]]:
        return [{"name": path, "fd": None if path == STANDARD_INPUT else self._open(open_log, path)} for path in logs]

    def _open(self, open_: Callable[[str], int], path: str) -> int:
        descriptor = open_(path)
        self._stack.callback(os.close, descriptor)
        return self.add(descriptor)


class _Conversation:
    """One job's exchange of messages. `deadline` is by the monotonic clock; None for no deadline."""

    def __init__(
        self,
        channel: socket.socket,
        deadline: float | None,
        opening: Callable[[], AbstractContextManager[object]] = nullcontext,
    ) -> None:
        self._channel = channel
        self._deadline = deadline
        self._opening = opening
        self._pipe = -1
        self._said = bytearray()
        self._change = bytearray()
        self.streams: list[int] = []
        self._own_streams = ExitStack()

    def listen(self, stack: ExitStack) -> None:
        """Make streams for the child: an empty input, and a pipe for its output."""
        self._pipe, end = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        stack.callback(os.close, self._pipe)
        stack.push(self._own_streams)
        self._own_streams.callback(os.close, end)
        # Only our end is non-blocking.
        os.set_blocking(end, True)
        nothing = os.open(os.devnull, os.O_RDONLY | os.O_CLOEXEC)
        self._own_streams.callback(os.close, nothing)
        self.streams = [nothing, end, end]

    def close_streams(self) -> None:
        """Close our copies of the child's ends."""
        self._own_streams.close()

    def ask(self, message: Mapping[str, Any], descriptors: Sequence[int] = ()) -> None:
        """Send a message. Raises OSError."""
        self._channel.settimeout(self._left())
        send(self._channel, message, descriptors)

    def serve(self, folder: int) -> int:
        """Answer each request for a list file, and keep each piece of a change, until the last message; return its
        exit code.

        Raises ValueError for a child that breaks the rules, OSError for one that has died or takes too long.
        """
        asked = 0
        while True:
            message = self._next()
            if "list" in message:
                asked += 1
                if asked > MAX_LISTS:
                    raise ValueError(f"it asked for more than {MAX_LISTS:,} list files")
                self._give(folder, message["list"])
            elif isinstance(piece := message.get("change"), str) and piece:
                self._change += piece.encode(errors="replace")
                if len(self._change) > difference.BOUNDS.size:
                    raise ValueError("a change that is too long")
            elif type(code := message.get("exit")) is int:
                return code
            else:
                raise ValueError("an unknown message")

    def change(self) -> bytes:
        """Return the change that the child has told, as JSON; empty if it has told none."""
        return bytes(self._change)

    def text(self) -> str:
        """Return the child's output, cut off at MAX_TEXT."""
        self._hear()
        return self._said.decode(errors="replace")

    def _give(self, folder: int, name: object) -> None:
        who = ""
        try:
            if not isinstance(name, str) or folder < 0:
                raise ValueError("must name a file inside the policy's folder")
            with self._opening():
                who = user_name()
                # Root does this for a child that an attacker may control: nothing outside the folder is opened.
                descriptor = open_beneath(folder, name)
        except PermissionError:
            self.ask({"refused": f"user {who} may not read it", "denied": True})
            return
        except (OSError, ValueError) as error:
            self.ask({"refused": getattr(error, "strerror", None) or str(error)})
            return
        try:
            self.ask({"found": True}, [descriptor])
        finally:
            os.close(descriptor)

    def _next(self) -> dict[str, Any]:
        """Return the next message; read the child's output meanwhile, so that it never blocks on a full pipe."""
        waiting = select.poll()
        waiting.register(self._channel, select.POLLIN)
        if self._pipe >= 0:
            waiting.register(self._pipe, select.POLLIN)
        while True:
            left = self._left()
            ready = dict(waiting.poll(None if left is None else left * 1000))
            if self._pipe in ready and not self._hear():
                waiting.unregister(self._pipe)
            if self._channel.fileno() in ready:
                received = receive(self._channel)
                if received is None:
                    raise ConnectionResetError(errno.ECONNRESET, "the channel was closed")
                return received[0]

    def _hear(self) -> bool:
        """Read what the pipe holds; False at its end. Bounded, so that a child that floods it cannot block us."""
        if self._pipe < 0:
            return False
        for _ in range(PIECES):
            try:
                piece = os.read(self._pipe, PIECE)
            except BlockingIOError:
                return True
            if not piece:
                return False
            self._said += piece[: MAX_TEXT - len(self._said)]
        return True

    def _left(self) -> float | None:
        """Return the seconds left, None without a deadline. Raises TimeoutError if there are none."""
        if self._deadline is None:
            return None
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise TimeoutError(errno.ETIMEDOUT, "the time is up")
        return left


def _environment() -> dict[str, str]:
    # One thread: numpy's linear algebra would start a thread pool, which nothing here uses and the limits forbid.
    kept = {name: os.environ[name] for name in ("PATH", "PYTHONPATH", "NO_COLOR", "TERM", "LANG") if name in os.environ}
    return {**kept, "OPENBLAS_NUM_THREADS": "1"}
