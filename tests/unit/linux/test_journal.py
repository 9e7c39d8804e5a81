# SPDX-License-Identifier: Apache-2.0
"""Entries for the journal."""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING

from geodrop.linux.journal import MAX_FIELD, connect, encode, send

if TYPE_CHECKING:
    from pathlib import Path


def test_fields() -> None:
    """A value with line breaks is sent with its length; any other one as it is; a long one is cut."""
    assert encode({"A": "b=c"}) == b"A=b=c\n"
    assert encode({"A": "b\nc"}) == b"A\n" + struct.pack("<Q", 3) + b"b\nc\n"
    assert len(encode({"A": "x" * 10_000_000})) < MAX_FIELD + 10


def test_an_entry_arrives(tmp_path: Path) -> None:
    """An entry is one datagram; without a journal nothing happens, and one that takes nothing is not waited for."""
    path = str(tmp_path / "socket")
    assert connect(path) is None
    send({"A": "b"}, path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as journal:
        journal.bind(path)
        send({"A": "b", "C": "d"}, path)
        assert journal.recv(100) == b"A=b\nC=d\n"
        for _ in range(1_000):
            send({"A": "b" * 10_000}, path)
