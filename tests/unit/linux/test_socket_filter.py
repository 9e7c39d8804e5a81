# SPDX-License-Identifier: Apache-2.0
import socket

import pytest

from geodrop.linux import socket_filter
from geodrop.linux.socket_filter import JUMP_EQUAL, LEAVE, LOAD_HALF, LOAD_WORD, TAKE


@pytest.mark.parametrize(
    ("load", "number", "taken"), [(LOAD_HALF, socket_filter.half(0x1234), 1), (LOAD_WORD, socket_filter.word(7), 0)]
)
def test_only_what_the_code_takes_is_queued(load: int, number: int, taken: int) -> None:
    """Numbers compare as the host writes them; a message too short for a load is dropped."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs:
        theirs.settimeout(0)
        socket_filter.attach(theirs, [(load, 0, 0, 0), (JUMP_EQUAL, 0, 1, number), TAKE, LEAVE])
        sent = [memoryview(bytearray(8)) for _ in range(2)]
        sent[0].cast("H")[0] = 0x1234
        sent[1].cast("I")[0] = 7
        for message in (memoryview(b"1"), *sent):
            ours.send(message)
        assert theirs.recv(16) == sent[1 - taken]
        with pytest.raises(BlockingIOError):
            theirs.recv(16)
