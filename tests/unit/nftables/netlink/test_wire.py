from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink import nftsocket

from geodrop.nftables.netlink import uapi, wire
from geodrop.nftables.netlink.wire import NetlinkRequest

pairs = st.lists(st.tuples(st.integers(1, 0x3FFF), st.binary(max_size=40)), max_size=8)


@given(pairs)
def test_attributes_come_back(items: list[tuple[int, bytes]]) -> None:
    """Attributes are read back, whatever the lengths of their values."""
    encoded = b"".join(wire.attribute(kind, value) for kind, value in items)
    assert len(encoded) % 4 == 0
    assert [(kind, bytes(value)) for kind, value in wire.attributes(memoryview(encoded))] == items


@given(pairs, st.integers(1, 40))
def test_cut_off_attributes_end_quietly(items: list[tuple[int, bytes]], cut: int) -> None:
    """A cut-off buffer yields fewer attributes, never an exception or an endless loop."""
    encoded = b"".join(wire.attribute(kind, value) for kind, value in items)[:-cut]
    found = [(kind, bytes(value)) for kind, value in wire.attributes(memoryview(encoded))]
    assert found[:-1] == items[: max(len(found) - 1, 0)]


def test_a_length_of_nothing_ends_the_attributes() -> None:
    """A length below that of the header itself ends the reading."""
    assert list(wire.attributes(memoryview(bytes(8)))) == []


def test_the_nested_flag_is_no_part_of_the_type() -> None:
    """Other programs may set the flag."""
    encoded = wire.attribute(3 | uapi.NLA_F_NESTED, b"x")
    assert list(wire.parse(memoryview(encoded))) == [3]


def test_numbers() -> None:
    """Numbers are big-endian; negative ones are read too."""
    [(_, value)] = wire.attributes(memoryview(wire.be32(1, -450)))
    assert bytes(value) == b"\xff\xff\xfe\x3e"
    assert wire.signed(value) == -450
    [(_, value)] = wire.attributes(memoryview(wire.be64(1, 1 << 40)))
    assert wire.number(value) == 1 << 40


def test_comments() -> None:
    """Comments are read from user data, even behind other items; user data without a comment gives none."""
    [(_, value)] = wire.attributes(memoryview(wire.comment(6, "zone ü")))
    assert wire.comment_text(value) == "zone ü"
    assert wire.comment_text(memoryview(b"\x05\x02ab" + bytes(value))) == "zone ü"
    assert wire.comment_text(memoryview(b"\x05\x02ab")) == ""
    assert wire.comment_text(None) == ""


def test_names_of_others_need_not_be_text() -> None:
    """A byte that is not UTF-8 is shown escaped and is no error."""
    assert wire.text(memoryview(b"\xff\0")) == "\\xff"


def test_a_request_is_what_pyroute2_reads() -> None:
    """pyroute2, which is not our code, reads header, family and attributes."""
    body = wire.string(uapi.TableAttribute.NAME, "geodrop") + wire.comment(uapi.TableAttribute.USERDATA, "mine")
    request = NetlinkRequest(uapi.Message.NEWTABLE, uapi.Flag.REQUEST | uapi.Flag.CREATE, body, "create")
    message = nftsocket.nft_table_msg(request.encode(7, acknowledge=True))
    message.decode()
    assert message["header"]["sequence_number"] == 7
    assert message["header"]["flags"] == 0x1 | 0x4 | 0x400
    assert message["header"]["type"] == 10 << 8
    assert message["nfgen_family"] == uapi.NFPROTO_INET
    assert message.get_attr("NFTA_TABLE_NAME") == "geodrop"
    assert message.get_attr("NFTA_TABLE_USERDATA").rstrip("\0") == "mine"


def test_messages_are_cut_apart() -> None:
    """A received buffer holds several messages, each padded."""
    received = wire.batch(0x10, 1) + wire.batch(0x11, 2)
    assert [(kind, sequence) for kind, _, sequence, _ in wire.messages(memoryview(received))] == [(0x10, 1), (0x11, 2)]


@given(st.lists(st.tuples(st.integers(0, 300), st.booleans())), st.integers(1, 500))
def test_portions(shapes: list[tuple[int, bool]], size: int) -> None:
    """All requests stay in order; a joined request never starts a portion; portions are as small as allowed."""
    requests = [
        NetlinkRequest(uapi.Message.NEWRULE, uapi.Flag.REQUEST, bytes(length), "", joined=joined and number > 0)
        for number, (length, joined) in enumerate(shapes)
    ]
    portions = [list(portion) for portion in wire.portions(requests, size)]
    assert [request for portion in portions for request in portion] == requests
    for portion in portions[1:]:
        assert not portion[0].joined
    for portion in portions:
        before_last_break = [number for number, request in enumerate(portion) if not request.joined][-1]
        assert sum(len(request.body) for request in portion[:before_last_break]) < size
