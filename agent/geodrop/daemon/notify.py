# SPDX-License-Identifier: Apache-2.0
"""Messages to systemd: sd_notify(3), one datagram a message. Without systemd nothing is sent.

A message is a list of assignments, a line each: texts from outside must not add assignments of their own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from geodrop.text import harmless

SECONDS = 1.0
"""How long to wait while systemd has no room for another message, for example while it re-executes itself."""


class Notifier:
    """Sends messages to $NOTIFY_SOCKET, if it is set."""

    def __init__(self) -> None:
        # Remove these variables: children must not speak for the daemon.
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        watched = os.environ.pop("WATCHDOG_USEC", "")
        meant = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog = int(watched) / 1e6 if watched and meant else None
        """Seconds without a ping after which systemd restarts the daemon; None if there is no watchdog."""
        self._ready = False

    def status(self, text: str) -> None:
        """Set the text that `systemctl status` shows."""
        self._say(f"STATUS={harmless(text)}")

    def ready(self, text: str) -> None:
        """Report that the start is over: what is wanted is in force."""
        self._ready = True
        self._say(f"READY=1\nSTATUS={harmless(text)}")

    def reloading(self, text: str) -> None:
        """Report that a reload begins, unless it is part of the start. systemd 253 and later needs the time of the
        clock.
        """
        begins = f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\n" if self._ready else ""
        self._say(f"{begins}STATUS={harmless(text)}")

    def reloaded(self, text: str) -> None:
        """Report that a reload is over, whether it succeeded or not."""
        self._say(f"READY=1\nSTATUS={harmless(text)}" if self._ready else f"STATUS={harmless(text)}")

    def stopping(self) -> None:
        """Report that the daemon stops; the kernel goes on enforcing."""
        self._say("STOPPING=1\nSTATUS=stopping; the kernel goes on enforcing")

    def ping(self) -> None:
        """Report that the daemon is alive."""
        self._say("WATCHDOG=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        # A leading @ means the abstract namespace, which the kernel writes as a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # A message that cannot be sent must not stop enforcement; if that lasts, the watchdog notices.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.settimeout(SECONDS)
            channel.sendto(message.encode(), address)
