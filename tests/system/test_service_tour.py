# SPDX-License-Identifier: Apache-2.0
"""The walks of README.md on real systemd, command by command: a change, and a customer who cannot connect.

And the change that goes wrong: an operator who insists, and is locked out of the SSH session for a while.
"""

from __future__ import annotations

import itertools
import subprocess
import threading
import time
from typing import TYPE_CHECKING

import pytest

from tests.system.checkout import commands
from tests.system.edge import ALLOWED, DENIED, JAPAN_DENIED, LOCAL, POLICY, SECONDS, SWITCHED

if TYPE_CHECKING:
    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

WRITTEN = "81.2.69.142"
"""The customer's address in README.md."""


def typed(host: Edge, line: str) -> str:
    """Type a line of README.md; return what it prints."""
    return host.machine.run("sh", "-c", line)


def test_a_change_and_its_way_back(settled: Edge) -> None:
    """The plan names what moves; the change is in force and waits to be confirmed; it stays; then it is taken back."""
    [plan, reload, confirm, rollback] = commands("geodrop plan")
    settled.policy(JAPAN_DENIED)
    assert "drop    JP" in typed(settled, plan)
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    assert "not confirmed: the kernel goes back" in typed(settled, reload)
    settled.assert_now(DENIED + SWITCHED)
    assert settled.status()["confirm"] is not None
    assert "stays" in typed(settled, confirm)
    assert settled.status()["confirm"] is None
    settled.assert_now(DENIED + SWITCHED)
    typed(settled, rollback)
    settled.assert_now(DENIED, ALLOWED + SWITCHED)
    settled.policy(POLICY)
    typed(settled, "geodrop reload")


def test_a_customer_cannot_connect(settled: Edge) -> None:
    """`explain` names the line that drops the customer; an exemption lets this one in, and no other, until its end."""
    customer = DENIED[0]
    lines = [line.replace(WRITTEN, customer) for line in commands("CASE-7")]
    explain, exempt, listed, end = lines
    assert typed(settled, explain).startswith("DROP")
    assert "passes" in typed(settled, exempt)
    settled.assert_now(DENIED[1:], (customer, *ALLOWED, *SWITCHED))
    assert "CASE-7" in typed(settled, listed)
    assert typed(settled, explain).startswith("ACCEPT")
    typed(settled, end)
    settled.assert_now(DENIED, ALLOWED + SWITCHED)


OPERATOR = "133.11.0.77"
"""In Japan, as the network that a test may deny."""
KEY = "/root/.ssh/for-this-test"
SSH_JUDGED = "never_drop: {}\n" + JAPAN_DENIED.partition("never_drop:")[0].replace("tcp: [443]", "tcp: [22, 443]")
assert "[22, 443]" in SSH_JUDGED
COUNT = "i=0; while :; do echo count $i; i=$((i+1)); sleep 0.02; done"


def ssh(host: Edge) -> list[str]:
    """Return the command of an SSH session from the client to the host, with a key of its own."""
    host.machine.run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", KEY)
    host.machine.run("cp", f"{KEY}.pub", "/root/.ssh/authorized_keys")
    host.machine.run("systemctl", "start", "ssh")
    host.client.run("ip", "address", "add", f"{OPERATOR}/32", "dev", "eth0")
    # The machine's root has the client program too.
    inside = ["nsenter", f"--net=/run/netns/{host.client.name}", "chroot", str(host.machine.root)]
    options = ("BatchMode=yes", "StrictHostKeyChecking=no", "UserKnownHostsFile=/dev/null", "LogLevel=ERROR")
    named = [word for option in options for word in ("-o", option)]
    return [*inside, "ssh", "-T", "-i", KEY, "-b", OPERATOR, *named, f"root@{LOCAL[4]}", "sh"]


def test_an_operator_who_insists(settled: Edge) -> None:
    """A reload in an SSH session that would cut this session is held; accepted, it cuts the session; and when the
    deadline is over, the session goes on where it was, without anybody having done anything.
    """
    command = ssh(settled)
    settled.policy(SSH_JUDGED + "limits: {blast_radius: none}\n")
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, bufsize=1) as session:
        assert session.stdin is not None
        assert session.stdout is not None
        session.stdin.write("geodrop reload --confirm-within 10s 2>&1; echo exit $?\n")
        too_late = threading.Timer(SECONDS, session.kill)  # a session that stands still for good ends the loops below
        too_late.start()
        said = list(itertools.takewhile(lambda line: line != "exit 5\n", session.stdout))
        [limit] = settled.status()["held"]
        assert said[-1] == f"  accept exactly this: geodrop reload --accept {limit['accept']}\n", said
        assert f"your SSH connection from {OPERATOR} (JP) would be dropped by api" in "".join(said)
        session.stdin.write(f"geodrop reload --accept {limit['accept']} --confirm-within 10s >/dev/null; {COUNT}\n")
        settled.wait_for("the load", lambda: settled.status()["confirm"])
        deadline = settled.deadline() / 1e9
        counts = []
        for line in session.stdout:
            counts.append((line, time.monotonic()))
            if counts[-1][1] > deadline + 1:
                break
        session.kill()
        too_late.cancel()
    assert [line for line, _ in counts] == [f"count {number}\n" for number in range(len(counts))]
    stalled, gap = max(
        ((at, later - at) for (_, at), (_, later) in itertools.pairwise(counts)), key=lambda pair: pair[1]
    )
    settled.times["an SSH session that stood still until the load was undone"] = gap
    assert stalled < deadline < stalled + gap
    assert settled.problem("was not confirmed and undone at")
    settled.policy(POLICY)
    typed(settled, "geodrop reload")
    settled.client.run("ip", "address", "delete", f"{OPERATOR}/32", "dev", "eth0")
