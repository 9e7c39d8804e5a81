# SPDX-License-Identifier: Apache-2.0
import contextlib
import os
import pty
import subprocess
import sys
import time
from pathlib import Path

import pytest

from geodrop.compile.relay import shown

SAY = """
import os
assert not any(map(os.isatty, range(3))), "it has a terminal"
said = os.read(0, 100)
os.write(1, b"out " + said + b"\\x1b[2J\\n")
os.write(2, b"geodrop: error: bad\\n")
"""
ASK = """
import subprocess, sys
from geodrop.compile.relay import Relay
with Relay(reads=sys.argv[1] == "reads") as relay:
    stdin, stdout, stderr = relay.streams
    process = subprocess.Popen([sys.executable, "-c", sys.argv[2]], stdin=stdin, stdout=stdout, stderr=stderr)
    relay.hand_over()
    process.wait(60)
"""


@pytest.mark.parametrize(("reads", "heard"), [("reads", b"abc"), ("leaves", b"")])
def test_pipes_pass_on_what_was_said(reads: str, heard: bytes) -> None:
    """Output to no terminal is passed on byte for byte; standard input is only read for a child that reads it."""
    done = subprocess.run([sys.executable, "-c", ASK, reads, SAY], input=b"abc", check=True, capture_output=True)
    assert done.stdout == b"out " + heard + b"\x1b[2J\n"
    assert done.stderr == b"geodrop: error: bad\n"


def test_a_terminal_obeys_nobody() -> None:
    """The child has no terminal; its output reaches ours as text, with the severity in colour."""
    ours, theirs = pty.openpty()
    environment = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
    process = subprocess.Popen(
        [sys.executable, "-c", ASK, "leaves", SAY], stdin=theirs, stdout=theirs, stderr=theirs, env=environment
    )
    os.close(theirs)
    said = b""
    with contextlib.suppress(OSError):  # reading fails with EIO once the other end of the terminal is closed
        while True:
            said += os.read(ours, 1000)
    os.close(ours)
    assert process.wait() == 0
    assert b"out \\x1b[2J\r\n" in said
    assert b"\x1b[31mgeodrop: error:\x1b[0m bad" in said


def test_a_reader_that_has_seen_enough(tmp_path: Path) -> None:
    """If the reader closes its end, the child gets EPIPE as any program would, and nothing hangs."""
    flood = SAY.replace('os.write(1, b"out', 'os.write(1, b"x" * (1 << 20) + b"out')
    began = time.monotonic()
    with (tmp_path / "err").open("wb") as err:
        process = subprocess.Popen([sys.executable, "-c", ASK, "leaves", flood], stdout=subprocess.PIPE, stderr=err)
        assert process.stdout
        process.stdout.close()
        process.wait(60)
    assert time.monotonic() - began < 60


@pytest.mark.parametrize(
    ("line", "text"),
    [
        (b"plain \xc3\xa4\ttext", "plain ä\ttext"),
        (b"\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        (b"\xc2\x9b2J \xe2\x80\xae \r", "\\x9b2J \\u202e \\r"),
        (b"\xff", "\ufffd"),
    ],
)
def test_lines_for_a_terminal(line: bytes, text: str) -> None:
    """C0 and C1 control characters and those that change the direction of text are escaped."""
    assert shown(line).decode() == text
