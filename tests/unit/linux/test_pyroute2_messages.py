# SPDX-License-Identifier: Apache-2.0
"""Importing pyroute2's messages does not import the rest of pyroute2, and does not prevent it."""

import subprocess
import sys

import pytest

MESSAGES = "import geodrop.linux.pyroute2_messages as messages"
WHOLE = "from pyroute2 import IPRoute; import pyroute2.netlink.rtnl.ifinfmsg"
SAME = "assert pyroute2.netlink.rtnl.ifinfmsg.ifinfmsg is messages.ifinfmsg; IPRoute"


def run(code: str) -> str:
    """Return what a fresh interpreter prints."""
    return subprocess.run([sys.executable, "-c", code], check=True, capture_output=True, text=True).stdout


def test_the_rest_stays_out() -> None:
    """Neither asyncio nor the rest of pyroute2 is imported: a load would wait for it, a daemon keep its memory."""
    loaded = set(run(f"import sys; {MESSAGES}; print(*sys.modules)").split())
    assert "pyroute2.netlink.rtnl.rtmsg" in loaded
    assert not loaded & {"pyroute2.ndb", "pyroute2.iproute", "pyroute2.netlink.core", "asyncio"}


def test_other_parts_come_alone() -> None:
    """Tests read geodrop's nf_tables messages with pyroute2's classes."""
    loaded = set(
        run(f"import sys; {MESSAGES}; from pyroute2.netlink.nfnetlink import nftsocket; print(*sys.modules)").split()
    )
    assert "pyroute2.netlink.nfnetlink.nftsocket" in loaded
    assert "pyroute2.ndb" not in loaded


@pytest.mark.parametrize("first", [MESSAGES, WHOLE])
def test_whoever_wants_all_of_it_gets_it(first: str) -> None:
    """The whole package can be imported before or after; the message classes are the same."""
    second = {MESSAGES: WHOLE, WHOLE: MESSAGES}[first]
    run(f"{first}; {second}; {SAME}")
