# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.nftables.model import Chain
from geodrop.nftables.netlink import messages, uapi, wire
from geodrop.nftables.netlink.connection import Connection, RefusedError
from geodrop.nftables.netlink.uapi import Flag, Message
from geodrop.nftables.netlink.wire import NetlinkRequest

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace

NOBODY = 65_534


def chain(name: str) -> NetlinkRequest:
    """Return a request for a chain."""
    return messages.new_chain(Chain(name, "", ()))


def chains(netns: Namespace) -> list[str]:
    """Return what nft lists."""
    return [line.split()[1] for line in netns.run("nft", "list", "chains", "inet").splitlines() if "chain " in line]


def test_a_transaction_is_whole(netns: Namespace) -> None:
    """The whole transaction is in force when the call returns."""
    with Connection() as connection:
        connection.transaction([messages.new_table("geodrop"), chain("one"), chain("two")])
    assert chains(netns) == ["one", "two"]


def test_a_refused_transaction_changes_nothing(netns: Namespace) -> None:
    """After a refusal not even earlier requests are in force; the error names the refused request and the reason."""
    with Connection() as connection:
        connection.transaction([messages.new_table("geodrop"), chain("one")])
        with pytest.raises(RefusedError, match=r"create chain one \(EEXIST, File exists\)") as caught:
            connection.transaction([chain("two"), chain("one"), chain("three")])
        assert caught.value.errno == errno.EEXIST
        connection.transaction([chain("four")])
    assert chains(netns) == ["one", "four"]


def test_an_error_in_the_first_and_in_the_last_request(netns: Namespace) -> None:
    """An error in the first or last request is attributed to that request, not to the batch."""
    with Connection() as connection:
        with pytest.raises(RefusedError, match="create chain one"):
            connection.transaction([chain("one"), messages.new_table("geodrop")])
        connection.transaction([messages.new_table("geodrop")])
        with pytest.raises(RefusedError, match="delete chain two"):
            connection.transaction([chain("one"), messages.delete_chain("two")])
    assert chains(netns) == []


def test_the_kernels_own_words_are_passed_on(netns: Namespace) -> None:
    """Extended acknowledgements name what an errno cannot."""
    body = wire.string(uapi.TableAttribute.NAME, "geodrop") + wire.be32(uapi.TableAttribute.FLAGS, 0xFFFF)
    unknown = NetlinkRequest(uapi.Message.NEWTABLE, Flag.REQUEST | Flag.CREATE, body, "try something")
    too_long = NetlinkRequest(
        uapi.Message.NEWTABLE,
        Flag.REQUEST | Flag.CREATE,
        wire.string(uapi.TableAttribute.NAME, "x" * 300),
        "use a long name",
    )
    with Connection() as connection:
        with pytest.raises((RefusedError, UnavailableError), match="try something"):
            connection.transaction([unknown])
        with pytest.raises(RefusedError, match="use a long name") as caught:
            connection.transaction([too_long])
    # Linux 6.1 reports only ERANGE.
    major, minor = map(int, os.uname().release.split(".")[:2])
    assert (major, minor) < (6, 18) or "result out of range: " in caught.value.message
    assert netns.run("nft", "list", "tables") == ""


def test_an_empty_transaction_is_nothing(netns: Namespace) -> None:
    """An empty transaction does not even change the generation of the ruleset."""
    before = netns.run("nft", "-j", "list", "ruleset")
    with Connection() as connection:
        connection.transaction([])
    assert netns.run("nft", "-j", "list", "ruleset") == before


def test_questions(netns: Namespace) -> None:
    """Answers come in order, None for a missing object, for any number of requests."""
    del netns
    with Connection() as connection:
        assert connection.ask([messages.get_table()]) == [None]
        connection.transaction([messages.new_table("geodrop")])
        answers = connection.ask([messages.get_table(), messages.get_base()] * 100)
    assert [answer is None for answer in answers] == [False, True] * 100


def test_a_large_transaction(netns: Namespace) -> None:
    """Megabytes go in one message: the socket's buffer is raised beyond what a user may set."""
    with Connection() as connection:
        assert connection.capacity >= 32 << 20
        names = [f"{'c' * 200}{number}" for number in range(20_000)]
        connection.transaction([messages.new_table("geodrop"), *map(chain, names)])
        found = connection.dump(messages.dump(Message.GETCHAIN, "chains"))
        assert len(found) == 20_000
    netns.run("nft", "delete", "table", "inet", "geodrop")


def test_namespaces_are_apart(netns: Namespace) -> None:
    """A connection belongs to the namespace of the thread that opened it."""
    with Connection() as connection:
        connection.transaction([messages.new_table("geodrop")])
    assert "geodrop" in netns.run("nft", "list", "tables")


def in_child(netns: Namespace) -> int:
    """Ask as user nobody, in a child process; its exit status tells what was raised."""
    del netns
    child = os.fork()
    if not child:
        status = 1
        try:
            os.setgroups([])
            os.setresgid(NOBODY, NOBODY, NOBODY)
            os.setresuid(NOBODY, NOBODY, NOBODY)
            with Connection() as connection:
                connection.ask([messages.get_generation()])
        except PrivilegeError as error:
            status = error.exit_code if "CAP_NET_ADMIN" in str(error) else 2
        finally:
            os._exit(status)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_no_privilege(netns: Namespace) -> None:
    """The missing capability is named."""
    assert in_child(netns) == PrivilegeError.exit_code


def test_more_errors_than_the_queue_holds(netns: Namespace) -> None:
    """A transaction that fails at every request raises an error, and the next request is answered."""
    with netns.entered(), Connection() as connection:
        for _ in range(3):
            with pytest.raises(RefusedError, match=r"delete chain g1-0 \(ENOENT"):
                connection.transaction(messages.delete_chain(f"g1-{number}") for number in range(20_000))
            assert connection.ask([messages.get_generation()]) != [None]
