# SPDX-License-Identifier: Apache-2.0
"""A probe in a new namespace leaves no trace, and its failures come back."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
from typing import TYPE_CHECKING

import pytest

from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.linux.namespace import entered, in_new_namespace
from tests.support.namespaces import namespaces, run
from tests.support.users import as_user

if TYPE_CHECKING:
    from tests.support.namespaces import Namespace


def test_a_thread_is_inside_for_a_while(netns: Namespace) -> None:
    """The thread is in the other namespace inside the block; sockets opened there stay, and it always returns."""
    here = os.readlink("/proc/thread-self/ns/net")
    with namespaces("other") as [other]:
        other.run("ip", "link", "add", "there", "type", "bridge")
        with subprocess.Popen(
            ["nsenter", f"--net=/run/netns/{other.name}", "cat"], stdin=subprocess.PIPE, stdout=subprocess.PIPE
        ) as holder:
            assert holder.stdin
            assert holder.stdout
            holder.stdin.write(b"x")
            holder.stdin.flush()
            assert holder.stdout.read(1) == b"x", "it is inside by now"
            with contextlib.suppress(ZeroDivisionError), entered(holder.pid):
                names = {name for _, name in socket.if_nameindex()}
                raise ZeroDivisionError
            assert names == {"lo", "there"}
            assert os.readlink("/proc/thread-self/ns/net") == here
            assert netns.run("ip", "-brief", "link", "show", "type", "bridge") == ""
        with pytest.raises(FileNotFoundError), entered(holder.pid):
            pytest.fail("it has ended")


def test_the_probe_sees_a_namespace_of_its_own(netns: Namespace) -> None:
    """The new namespace has only a loopback, and what the probe makes there is not visible here."""
    netns.run("ip", "link", "add", "eth0", "type", "veth", "peer", "name", "far0")

    def probe() -> None:
        if [name for _, name in socket.if_nameindex()] != ["lo"]:
            raise UnavailableError("another interface was seen")
        run("nft", "add", "table", "inet", "probe")

    in_new_namespace(probe)
    assert netns.run("nft", "list", "ruleset") == ""


def test_failures_come_back(netns: Namespace) -> None:
    """A GeodropError comes back with its next step, an OSError with its text, and a dead child is reported."""
    del netns

    def missing() -> None:
        raise UnavailableError("no such thing", "get one")

    def refused() -> None:
        raise OSError(1, "Operation not permitted")

    def crash() -> None:
        raise SystemExit(3)

    with pytest.raises(UnavailableError, match="no such thing; get one"):
        in_new_namespace(missing)
    with pytest.raises(UnavailableError, match="Operation not permitted"):
        in_new_namespace(refused)
    with pytest.raises(UnavailableError, match="the probe died"):
        in_new_namespace(crash)


def test_without_privilege_it_is_said_that_nothing_was_tried(netns: Namespace) -> None:
    """Without the privilege to make a namespace the error is a PrivilegeError, not a missing feature."""
    code = (
        "from geodrop.linux.namespace import in_new_namespace; from geodrop.errors import PrivilegeError\n"
        "try: in_new_namespace(lambda: None)\nexcept PrivilegeError as error: print(error.message)"
    )
    said = netns.run(*as_user(), sys.executable, "-c", code)
    assert said.startswith("no network namespace to try it in")
    assert PrivilegeError.exit_code == 77
