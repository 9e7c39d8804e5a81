# SPDX-License-Identifier: Apache-2.0
import errno
import os
import socket
from collections.abc import Iterator

import pytest

from geodrop.compile.channel import MAX_MESSAGE, receive, send

Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    """Return both ends of a channel."""
    one, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    with one, other:
        yield one, other


def descriptors() -> set[str]:
    """Return every descriptor that this process holds."""
    return set(os.listdir("/proc/self/fd"))


def test_messages_and_descriptors_arrive_in_order(ends: Ends) -> None:
    """Messages are received as they were sent, in order, and each descriptor is the file that was sent."""
    one, other = ends
    file = os.memfd_create("test")
    os.write(file, b"content")
    send(one, {"list": "a"})
    send(one, {"found": True}, [file])
    os.close(file)
    one.close()
    assert receive(other) == ({"list": "a"}, [])
    received = receive(other, 1)
    assert received is not None
    assert received[0] == {"found": True}
    assert os.pread(received[1][0], 100, 0) == b"content"
    assert not os.get_inheritable(received[1][0])
    os.close(received[1][0])
    assert receive(other) is None


@pytest.mark.parametrize(
    "data",
    [
        b"nonsense",
        b"[]",
        b"\xff\xfe",
        b"[" * 100_000,
        b'{"exit": ' + b"9" * 10_000 + b"}",
        b'{"a": "' + b"x" * MAX_MESSAGE + b'"}',
    ],
    ids=["no JSON", "no object", "no UTF-8", "deep", "long number", "too long"],
)
def test_what_is_no_message_is_refused(ends: Ends, data: bytes) -> None:
    """Anything but a JSON object of bounded size raises ValueError and nothing else."""
    ends[0].send(data)
    with pytest.raises(ValueError):  # noqa: PT011 - the type is tested; the texts are those of json
        receive(ends[1])


@pytest.mark.parametrize("room", [0, 1])
def test_descriptors_nobody_asked_for_are_not_kept(ends: Ends, room: int) -> None:
    """A message with more descriptors than expected is refused, and the descriptors are closed."""
    before = descriptors()
    send(ends[0], {"exit": 0}, [0] * 20)
    with pytest.raises(ValueError, match="too many descriptors"):
        receive(ends[1], room)
    assert descriptors() == before


def test_too_long_a_message_is_not_sent(ends: Ends) -> None:
    """Sending a message that is too long fails on the sender's side."""
    with pytest.raises(OSError, match="too long") as caught:
        send(ends[0], {"addresses": ["192.0.2.1"] * 100_000})
    assert caught.value.errno == errno.EMSGSIZE
