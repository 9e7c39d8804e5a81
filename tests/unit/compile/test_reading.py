# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os
import socket
from threading import Thread
from typing import TYPE_CHECKING

import pytest

from geodrop.compile.channel import receive, send
from geodrop.compile.reading import read_policy
from geodrop.errors import ConfigError, DataError, PrivilegeError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from pathlib import Path
    from typing import Any

    from geodrop.policy.model import Policy
    from geodrop.ruleset.model import Input

POLICY = """version: 1
lists: {bad: {file: lists/bad.txt}}
services: {api: {default: allow, unknown: allow, deny: [list:bad]}}
"""


def read(folder: Path, answer: Mapping[str, Any] | None = None, text: str = POLICY) -> tuple[Policy, list[Input]]:
    """Read a policy whose list is in the folder; `answer` is what the other side says in place of opening it."""
    (folder / "policy.yaml").write_text(text)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    descriptor = os.open(folder / "policy.yaml", os.O_RDONLY)

    def serve() -> None:
        while received := receive(theirs):
            if answer is not None:
                send(theirs, answer)
                continue
            found = os.open(folder / received[0]["list"].rpartition("/")[2], os.O_RDONLY)
            send(theirs, {"found": True}, [found])
            os.close(found)

    thread = Thread(target=serve)
    thread.start()
    try:
        return read_policy(descriptor, str(folder / "policy.yaml"), ours)
    finally:
        os.close(descriptor)
        ours.close()
        thread.join()
        theirs.close()


def test_policy_and_lists_are_read_and_named(tmp_path: Path) -> None:
    """The policy comes with the identities of all files read, and the number of prefixes of each list."""
    (tmp_path / "bad.txt").write_text("8.8.8.0/24\n9.9.9.9\n")
    policy, inputs = read(tmp_path)
    assert [str(prefix) for prefix in policy.lists["bad"].prefixes] == ["8.8.8.0/24", "9.9.9.9/32"]
    assert [(one.kind, one.name, one.prefixes) for one in inputs] == [
        ("policy", "policy.yaml", None),
        ("list", "lists/bad.txt", 2),
    ]


@pytest.mark.parametrize(
    ("answer", "kind", "said"),
    [
        ({"refused": "No such file or directory"}, DataError, "lists/bad.txt: No such file"),
        ({"refused": "user nobody may not read it", "denied": True}, PrivilegeError, "user nobody may not"),
    ],
)
def test_a_list_that_is_not_opened_has_its_own_exit_code(
    tmp_path: Path, answer: Mapping[str, Any], kind: type[DataError], said: str
) -> None:
    """A list that is missing is bad data (65), one that may not be read is a missing right (77)."""
    with pytest.raises(kind, match=said):
        read(tmp_path, answer)


def test_an_endless_policy_is_refused(tmp_path: Path) -> None:
    """A policy larger than any good one is not read to its end."""
    with pytest.raises(ConfigError, match="larger than 4 MB"):
        read(tmp_path, text="#" * (5 << 20))
