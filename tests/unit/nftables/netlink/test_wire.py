# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from pyroute2.netlink.nfnetlink import nftsocket

from geodrop.linux import netlink
from geodrop.nftables.netlink import uapi, wire
from geodrop.nftables.netlink.wire import NetlinkRequest


def test_numbers() -> None:
    """Numbers are big-endian; negative ones are read too."""
    [(_, value)] = netlink.attributes(memoryview(wire.be32(1, -450)))
    assert bytes(value) == b"\xff\xff\xfe\x3e"
    assert wire.signed(value) == -450
    [(_, value)] = netlink.attributes(memoryview(wire.be64(1, 1 << 40)))
    assert wire.number(value) == 1 << 40


def test_comments() -> None:
    """Comments are read from user data, even behind other items; user data without a comment gives none."""
    [(_, value)] = netlink.attributes(memoryview(wire.comment(6, "zone ü")))
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
