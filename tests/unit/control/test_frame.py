# SPDX-License-Identifier: Apache-2.0
import json
import struct

import pytest

from geodrop.control import frame
from geodrop.errors import UnavailableError


def test_layout() -> None:
    """A frame is four bytes of length, big-endian, then JSON in UTF-8 with the version."""
    made = frame.encode({"verb": "status", "args": {}})
    [size] = struct.unpack(">I", made[:4])
    assert size == len(made) - 4
    assert json.loads(made[4:]) == {"v": 1, "verb": "status", "args": {}}
    assert frame.decode(made[4:]) == {"v": 1, "verb": "status", "args": {}}


def test_length_is_limited() -> None:
    """A length above the limit is refused before the message is received."""
    assert frame.length(struct.pack(">I", 100), 100) == 100
    with pytest.raises(UnavailableError, match="101 bytes"):
        frame.length(struct.pack(">I", 101), 100)


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "not JSON"),
        (b"{", "not JSON"),
        (b"\xff", "not JSON"),
        (b"[" * 50_000, "not JSON"),
        (b"null", "version"),
        (b'{"verb": "status"}', "version"),
        (b'{"v": 2}', "version"),
    ],
)
def test_what_is_no_message(body: bytes, message: str) -> None:
    """Anything other than an object of this version is refused, without any other exception."""
    with pytest.raises(UnavailableError, match=message):
        frame.decode(body)
