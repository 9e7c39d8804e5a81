# SPDX-License-Identifier: Apache-2.0
import socket
import struct
import sys

import pytest
import structlog

from geodrop.daemon import log as module
from geodrop.daemon.event import Event
from geodrop.daemon.log import entry, open_log
from geodrop.linux import journal as native
from geodrop.linux.journal import MAX_FIELD


def fields(datagram: bytes) -> dict[str, str]:
    """Parse a datagram of the journal's native protocol as the journal does."""
    found = {}
    while datagram:
        line, _, rest = datagram.partition(b"\n")
        key, equals, value = line.partition(b"=")
        if not equals:
            [size] = struct.unpack("<Q", rest[:8])
            value, rest = rest[8 : 8 + size], rest[8 + size + 1 :]
        found[key.decode()] = value.decode()
        datagram = rest
    return found


def test_entry() -> None:
    """Fields can be searched by name, the message contains them too; a multi-line value keeps its lines."""
    found = fields(
        entry(
            {"level": "warning", "event": "reload failed", "kind": Event.RELOAD_FAILED, "code": 78, "reason": "a\nb=c"}
        )
    )
    assert found == {
        "MESSAGE": "reload failed code=78",
        "PRIORITY": "4",
        "SYSLOG_IDENTIFIER": "geodrop",
        "GEODROP_EVENT": "reload-failed",
        "GEODROP_CODE": "78",
        "GEODROP_REASON": "a\nb=c",
    }


def test_what_others_wrote_steers_nothing() -> None:
    """The message, which people read in a terminal, is escaped; the fields hold the exact values."""
    found = fields(
        entry({"level": "info", "event": "a\x1b[2K\nb", "kind": Event.ASKED, "culprit": "x\x1b]0;t\x07\u202e"})
    )
    assert found["MESSAGE"] == "a\\x1b[2K\n    | b culprit=x\\x1b]0;t\\x07\\u202e"
    assert found["GEODROP_CULPRIT"] == "x\x1b]0;t\x07\u202e"


def test_entry_is_bounded() -> None:
    """A long text, which may come from outside, does not cost the whole entry."""
    assert len(entry({"level": "info", "event": "e", "kind": Event.ASKED, "reason": "x" * 10_000_000})) < 3 * MAX_FIELD


def test_traceback_of_a_bug() -> None:
    """The traceback of an exception is one field."""
    found = fields(entry({"level": "error", "event": "a bug", "kind": Event.BUG, "exc_info": ValueError("wrong")}))
    assert "ValueError: wrong" in found["GEODROP_TRACEBACK"]
    assert found["MESSAGE"] == "a bug"


def test_to_the_journal(monkeypatch: pytest.MonkeyPatch) -> None:
    """If stderr is the journal's stream, each event is a datagram to the journal's socket."""
    journal, ours = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    monkeypatch.setattr(module, "_is_journal", lambda _: True)
    monkeypatch.setattr(native, "connect", lambda: ours)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    with journal, ours:
        log = open_log()
        try:
            log.critical("nothing is enforced", kind=Event.NOT_ENFORCED, first_boot="open")
            assert fields(journal.recv(1 << 16))["GEODROP_FIRST_BOOT"] == "open"
        finally:
            structlog.reset_defaults()


def test_to_a_file(monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    """Elsewhere an event is a line of key=value; levels below info are not written."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.setattr(sys, "stderr", sys.__stderr__)
    log = open_log()
    try:
        log.info("reload done", kind=Event.RELOADED, outcome="generation 1 -> 2", quick=True)
        log.debug("unseen")
        log.info("repaired", culprit="\x1b[2K\r\nlevel=info event=fake")
    finally:
        structlog.reset_defaults()
    line, repaired, *rest = capfd.readouterr().err.splitlines(keepends=True)
    assert repaired.isascii()
    assert repaired[:-1].isprintable()
    assert "x1b[2K" in repaired
    assert rest == []
    assert line.startswith("timestamp=")
    assert line.endswith('level=info kind=reloaded event="reload done" outcome="generation 1 -> 2" quick=true\n')
