# SPDX-License-Identifier: Apache-2.0
"""Configure structlog: fields to the journal, colours on a terminal, key=value lines elsewhere.

MESSAGE is for people, with control characters escaped; the other fields hold exact values. GEODROP_EVENT names the kind
of entry, one of `event.Event`, which stays the same when texts change.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import TYPE_CHECKING, Any

import structlog

from geodrop.linux import journal
from geodrop.text import MARGIN, harmless, lines

if TYPE_CHECKING:
    from collections.abc import Mapping

PRIORITIES = {"debug": 7, "info": 6, "warning": 4, "error": 3, "critical": 2}  # syslog(3)

Logger = structlog.typing.FilteringBoundLogger


def open_log() -> Logger:
    """Return the daemon's log, which writes to where stderr leads."""
    processors: list[structlog.typing.Processor] = [structlog.processors.add_log_level]
    factory: Any
    if _is_journal(sys.stderr.fileno()) and (channel := journal.connect()):
        processors.append(lambda _logger, _method, event: entry(event))
        factory = lambda *_: _Journal(channel)  # noqa: E731 - what structlog calls a factory
    else:
        processors += [structlog.processors.TimeStamper("iso"), structlog.processors.format_exc_info]
        processors.append(lambda _logger, _method, event: _harmless(event))
        if sys.stderr.isatty():
            processors.append(structlog.dev.ConsoleRenderer(colors=not os.environ.get("NO_COLOR")))
        else:
            processors.append(
                structlog.processors.LogfmtRenderer(
                    key_order=("timestamp", "level", "kind", "event"), bool_as_flag=False
                )
            )
        factory = structlog.PrintLoggerFactory(sys.stderr)
    structlog.configure(
        processors=processors,
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=factory,
        cache_logger_on_first_use=True,
    )
    log: Logger = structlog.get_logger()
    return log


def _harmless(event: Mapping[str, Any]) -> dict[str, Any]:
    """Return the event with texts that cannot control a terminal or begin a line that looks like another event."""
    return {name: lines(value, MARGIN) if isinstance(value, str) else value for name, value in event.items()}


def entry(event: Mapping[str, Any]) -> bytes:
    """Encode an event as a datagram for the journal: MESSAGE is the text and its fields, and each field is
    GEODROP_NAME.
    """
    level, text = event["level"], str(event["event"])
    named = {key: value for key, value in event.items() if key not in ("level", "event", "kind", "exc_info")}
    if event.get("exc_info"):
        named["traceback"] = structlog.processors.format_exc_info(None, "", dict(event)).get("exception", "")
    texts = {key: str(value) for key, value in named.items() if key != "traceback"}
    short = [f"{key}={harmless(value)}" for key, value in texts.items() if "\n" not in value]
    fields = {
        "MESSAGE": " ".join([lines(text, MARGIN), *short]),
        "PRIORITY": str(PRIORITIES[level]),
        "SYSLOG_IDENTIFIER": "geodrop",
        "GEODROP_EVENT": str(event["kind"]),
        **{f"GEODROP_{key.upper()}": str(value) for key, value in named.items()},
    }
    return journal.encode(fields)


class _Journal:
    """The logger that structlog writes to: each level sends the datagram made of the event."""

    def __init__(self, channel: socket.socket) -> None:
        self._channel = channel

    def msg(self, datagram: bytes) -> None:
        try:
            self._channel.send(datagram, socket.MSG_DONTWAIT)
        except OSError as error:
            # The journal is restarting or full. stderr leads to it too, and waits for it.
            print(f"<4>geodrop: the journal did not accept a log entry ({error.strerror})", file=sys.stderr)

    debug = info = warning = error = critical = msg


def _is_journal(descriptor: int) -> bool:
    """Whether a descriptor is the stream that systemd connected to the journal (systemd.exec(5), $JOURNAL_STREAM)."""
    stream = os.fstat(descriptor)
    return os.environ.get("JOURNAL_STREAM") == f"{stream.st_dev}:{stream.st_ino}"
