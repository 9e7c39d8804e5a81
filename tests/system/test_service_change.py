# SPDX-License-Identifier: Apache-2.0
"""What keeps a change from going wrong, and proves it later, on real systemd with packets.

Tests in the policy, guards of lists, ramps, a simulation, what was in force at a time, and the audit. Plans, windows
and exemptions are in tests/system/test_service_tour.py and tests/system/test_service_meets.py.
"""

from __future__ import annotations

import json
import time
from typing import TYPE_CHECKING, Any

import pytest

from tests.system.edge import ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

TESTED = """
version: 1
services:
  api:
    match: {ports: {tcp: [443]}}
    default: allow
    unknown: allow
    deny: [CN, JP]
    expect: {accept: [133.11.0.0/24], drop: [1.2.4.8]}
limits: {blast_radius: none}
"""
GUARDED = """
version: 1
lists:
  scanners: {file: scanners.txt, guard: {shortest: {ipv4: 16}}}
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [CN, "list:scanners"]}
limits: {blast_radius: none}
"""
RAMPED = """
version: 1
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [CN, JP], share: SHARE%}
limits: {blast_radius: none}
"""
FOUR = (*DENIED, *SWITCHED)
"""Sources that fall into different buckets of a ramp."""
LOG = "".join(
    f'{source} - - [09/Jul/2024:13:00:0{second} +0000] "GET / HTTP/1.1" 200 5 "-" "curl/8.5.0"\n'
    for second, source in enumerate((*DENIED, *ALLOWED, *SWITCHED, *DENIED))
)


@pytest.fixture
def tried(settled: Edge) -> Iterator[Edge]:
    """Yield the host; afterwards the first policy is in force again."""
    yield settled
    settled.policy(POLICY)
    assert settled.geodrop("reload").returncode == 0


def answers(host: Edge, *arguments: str, stdin: str | None = None) -> list[dict[str, Any]]:
    """Return the objects that a command prints."""
    return [json.loads(line) for line in host.machine.run("geodrop", *arguments, "--json", stdin=stdin).splitlines()]


def newest(host: Edge, origin: str) -> dict[str, Any]:
    """Return the last record of an origin."""
    return next(one for one in answers(host, "history", "-n", "50") if one["origin"] == origin)


def stays(host: Edge, code: int, text: str) -> None:
    """Reload what is refused: exit code and reason are said, packets pass as before, and the history has it."""
    with host.watched(DENIED, ALLOWED + SWITCHED):
        done = host.geodrop("reload")
    assert done.returncode == code, done.stderr
    assert text in done.stderr
    assert host.word() == ("enforcing, but degraded", 1)
    record = newest(host, "reload")
    assert (record["outcome"], text in record["error"]) == ("failed", True), record


def test_a_policy_that_fails_its_own_test(tried: Edge) -> None:
    """It is refused with the line of the test, also by a restart; without the mistake it comes in force."""
    tried.policy(TESTED)
    stays(tried, 78, "policy.yaml:9:23: error: expect accept: 133.11.0.0/24 would be dropped")
    with tried.watched(DENIED, ALLOWED + SWITCHED):
        tried.systemctl("restart", "geodrop")
    tried.assert_now(DENIED, ALLOWED + SWITCHED)
    tried.policy(TESTED.replace("[CN, JP]", "[CN]"))
    assert tried.geodrop("reload").returncode == 0
    tried.wait_for_health()
    tried.assert_now(DENIED, ALLOWED + SWITCHED)


def test_a_list_that_breaks_its_guard(tried: Edge) -> None:
    """A feed that suddenly holds a quarter of the internet is refused with its line; a good one comes in force."""
    tried.machine.write("/etc/geodrop/scanners.txt", "133.11.0.0/16\n8.0.0.0/2\n")
    tried.policy(GUARDED)
    stays(tried, 65, "scanners.txt:2")
    tried.machine.write("/etc/geodrop/scanners.txt", "133.11.0.0/16\n2001:200::/32\n")
    assert tried.geodrop("reload").returncode == 0
    tried.assert_now(DENIED + SWITCHED)


def test_a_ramp(tried: Edge) -> None:
    """As the share grows, sources are dropped one after the other, as `explain` says, and none of them comes back."""
    tried.policy(RAMPED.replace("SHARE", "0.01"))
    assert tried.geodrop("reload").returncode == 0
    tried.assert_now((), FOUR + ALLOWED)
    buckets = {source: answers(tried, "explain", source)[0]["bucket"] for source in FOUR}
    ordered = sorted(FOUR, key=buckets.__getitem__)
    for number in range(1, len(ordered) + 1):
        share = buckets[ordered[number]] if number < len(ordered) else 10_000
        tried.policy(RAMPED.replace("SHARE", f"{share / 100:.2f}"))
        with tried.watched(tuple(ordered[: number - 1]), (*ordered[number:], *ALLOWED)):
            assert tried.geodrop("reload").returncode == 0
        tried.assert_now(tuple(ordered[:number]), (*ordered[number:], *ALLOWED))
        [service] = tried.status()["services"]
        assert service["share"] == pytest.approx(share / 10_000), service


def test_a_simulation(tried: Edge) -> None:
    """What a policy would do to the requests of a log is what then happens to the packets of the same sources."""
    tried.machine.write("/etc/geodrop/planned.yaml", JAPAN_DENIED)
    [loaded] = answers(tried, "simulate", "-", stdin=LOG)
    [planned] = answers(tried, "simulate", "-", "--policy", "/etc/geodrop/planned.yaml", stdin=LOG)
    assert (loaded["requests"], loaded["dropped"]["requests"], planned["dropped"]["requests"]) == (8, 4, 6)
    assert {one["region"] for one in planned["regions"]} == {"CN", "JP"}
    tried.policy(JAPAN_DENIED)
    assert tried.geodrop("reload").returncode == 0
    tried.assert_now(DENIED + SWITCHED)


def test_what_was_in_force(tried: Edge) -> None:
    """The past is told by `explain --at`, by the coverage of a line with its gaps, and by a chain that proves both."""
    time.sleep(1.1)
    before = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    time.sleep(1.1)
    tried.policy(JAPAN_DENIED)
    assert tried.geodrop("reload", "--why", "CHG-9").returncode == 0
    source = SWITCHED[0]
    then, now = (answers(tried, "explain", source, *at)[0] for at in (("--at", before), ()))
    assert (then["verdict"], now["verdict"], now["since"]["generation"]) == (
        "accept",
        "drop",
        tried.status()["generation"],
    )
    region, *_ = answers(tried, "explain", "JP")
    assert region["verdict"] == "drop", region
    tried.machine.run("nft", "delete", "table", "inet", "geodrop")
    tried.wait_for("the repair", lambda: "repair" in tried.told(1))
    tried.wait_for_health()
    [japan] = [one for one in answers(tried, "history", "--coverage") if one["line"] == "JP"]
    first, *_, last = japan["gaps"]
    assert (first["cause"], last["cause"], "nft" in last["culprit"]) == ("not in the policy", "drift", True), japan
    assert japan["seconds"] == pytest.approx(japan["in_force"] + sum(one["seconds"] for one in japan["gaps"]), abs=0.1)
    head = tried.log("recorded")[-1]["GEODROP_HEAD"]
    [proof] = answers(tried, "history", "--verify", "--head", head)
    assert (proof["good"], proof["faults"]) == (True, [])
    history = tried.machine.root / "var/lib/geodrop/history.jsonl"
    at = history.read_bytes().index(b"CHG-9") + len(b"CHG-")
    for digit, code in ((b"8", 1), (b"9", 0)):
        # One byte in place: the daemon may append a record meanwhile.
        with history.open("r+b") as file:
            file.seek(at)
            file.write(digit)
        assert tried.geodrop("history", "--verify").returncode == code
