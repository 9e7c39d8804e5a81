# SPDX-License-Identifier: Apache-2.0
"""Ask the daemon of this network namespace, if one runs."""

from __future__ import annotations

import os
import socket
import struct
from typing import TYPE_CHECKING, Any

from geodrop.control import frame
from geodrop.errors import PrivilegeError, UnavailableError, failure_of
from geodrop.state.asker import sudo_user
from geodrop.state.lock import control_socket

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

MONITOR = "monitor/control.sock"
"""The socket, beside the control socket, that answers only reading verbs, for users who may do nothing else. It is in a
folder of its own, which the unit's tmpfiles give to their group: the daemon itself may not change a file's owner."""

PATIENCE = 600.0
"""Seconds to wait for the next message of the daemon: a compile may take at most half of that."""

_TEXTS = ("progress", "error", "next_step", "printed", "text")
"""Keys of an answer whose values must be text."""


def ask(
    verb: str, args: Mapping[str, Any] | None = None, progress: Callable[[str], None] | None = None
) -> dict[str, Any] | None:
    """Ask the daemon; return its last message (see control/frame.py), None if no daemon runs.

    `progress` is called with each progress message. Raises the failure that the daemon reports, UnavailableError if it
    ends or sends an invalid message, and PrivilegeError if this user may not ask it.
    """
    channel = _connect(control_socket())
    if channel is None:
        return None
    with channel:
        try:
            name = {"sudo_user": known} if (known := sudo_user()) else {}
            channel.sendall(frame.encode({"verb": verb, "args": dict(args or {}), **name}))
            while "exit" not in (answer := _receive(channel)):
                if progress:
                    progress(answer["progress"])
        except OSError as error:
            raise UnavailableError(
                f"the daemon stopped answering ({error.strerror or error})", "see its log: journalctl -u geodrop"
            ) from error
    if "error" in answer:
        more = {name: answer[name] for name in ("printed", "held") if name in answer}
        raise failure_of(answer["exit"], answer["error"], answer.get("next_step", ""), **more)
    return answer


def _connect(control: str) -> socket.socket | None:
    """Connect to the control socket, or else to the one for reading; return None if no daemon listens."""
    if not control:
        return None
    for path in (control, os.path.join(os.path.dirname(control), MONITOR)):
        channel = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        # connect(2) waits while the daemon's queue is full; with a timeout set in Python it would fail at once.
        channel.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, struct.pack("ll", int(PATIENCE), 0))
        try:
            channel.connect(path)
            channel.settimeout(PATIENCE)
        except PermissionError:
            channel.close()
        except (FileNotFoundError, ConnectionRefusedError):
            channel.close()
            if path == control:
                return None
        except OSError as error:
            channel.close()
            raise UnavailableError(
                f"{path}: {error.strerror or error}", "is the daemon well? systemctl status geodrop"
            ) from error
        else:
            return channel
    raise PrivilegeError(
        f"{control}: may not be opened", "run as root, or as a member of group geodrop (to read: geodrop-monitor)"
    )


def _receive(channel: socket.socket) -> dict[str, Any]:
    """Return the next message. Raises UnavailableError if it is not a valid message of the daemon, and OSError."""
    size = frame.length(_exactly(channel, frame.HEADER.size), frame.MAX_ANSWER)
    message = frame.decode(_exactly(channel, size))
    wanted = ("progress",) if "exit" not in message else ("error",) if message.get("exit") else ()
    fits = type(message.get("exit", 0)) is int and all(name in message for name in wanted)
    fits = fits and all(isinstance(message.get(name, ""), str) for name in _TEXTS)
    if not fits or not isinstance(message.get("held", []), list):
        raise UnavailableError("an answer is not from geodrop's daemon", "see what runs: systemctl status geodrop")
    return message


def _exactly(channel: socket.socket, size: int) -> bytes:
    received = bytearray()
    while len(received) < size:
        piece = channel.recv(min(size - len(received), 1 << 16))
        if not piece:
            raise ConnectionResetError(0, "it closed the connection")
        received += piece
    return bytes(received)
