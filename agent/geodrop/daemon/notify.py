"""What systemd is told: sd_notify(3), one datagram a message. Without systemd nothing is said.

A message is a list of assignments, a line each: a text of somebody else's must not bring one of its own.
"""

from __future__ import annotations

import contextlib
import os
import socket
import time

from geodrop.text import harmless

SECONDS = 1.0
"""How long to wait while systemd has no room for another message, as when it executes itself anew."""


class Notifier:
    """Says things on $NOTIFY_SOCKET, if there is one."""

    def __init__(self) -> None:
        # Taken out of the environment: children must not speak for the daemon.
        self._address = os.environ.pop("NOTIFY_SOCKET", "")
        watched = os.environ.pop("WATCHDOG_USEC", "")
        meant = os.environ.pop("WATCHDOG_PID", str(os.getpid())) == str(os.getpid())
        self.watchdog = int(watched) / 1e6 if watched and meant else None
        """Seconds without a ping after which systemd restarts the daemon; None if it does not watch."""
        self._ready = False

    def status(self, text: str) -> None:
        """What `systemctl status` shows."""
        self._say(f"STATUS={harmless(text)}")

    def ready(self, text: str) -> None:
        """The start is over: what is wanted is in force."""
        self._ready = True
        self._say(f"READY=1\nSTATUS={harmless(text)}")

    def reloading(self, text: str) -> None:
        """A reload begins; the one of the start is part of that. systemd 253 and later tells them by the clock."""
        begins = f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}\n" if self._ready else ""
        self._say(f"{begins}STATUS={harmless(text)}")

    def reloaded(self, text: str) -> None:
        """It is over, well or not."""
        self._say(f"READY=1\nSTATUS={harmless(text)}" if self._ready else f"STATUS={harmless(text)}")

    def stopping(self) -> None:
        """The daemon stops; the kernel goes on."""
        self._say("STOPPING=1\nSTATUS=stopping; the kernel goes on enforcing")

    def ping(self) -> None:
        """Still alive."""
        self._say("WATCHDOG=1")

    def _say(self, message: str) -> None:
        if not self._address:
            return
        # An address that begins with @ is in the abstract namespace, which the kernel writes with a zero byte.
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        # What systemd does not hear must not stop enforcement; the watchdog notices if it goes on.
        with (
            contextlib.suppress(OSError),
            socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel,
        ):
            channel.settimeout(SECONDS)
            channel.sendto(message.encode(), address)
