# SPDX-License-Identifier: Apache-2.0
"""Five hosts, and every way in which a rollout goes wrong: shown, stopped, undone, and never noticed by other hosts."""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
from typing import TYPE_CHECKING

import pytest

from geodrop import __version__
from tests.fleet.hosts import Fleet, fleet
from tests.fleet.policies import BAD, JAPAN_DENIED, POLICY
from tests.support.databases import country, write_database
from tests.support.namespaces import run
from tests.system.edge import ALLOWED, DENIED, SWITCHED
from tests.system.packages import NEXT

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator
    from pathlib import Path

    from tests.fleet.hosts import Host

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.fleet]

QUIET, BUSY, *REST = ALL = ("edge-11", "edge-12", "edge-13", "edge-14", "edge-15")
OLDEST, NEWEST = "fleet-2.18", "fleet"
"""The environments with Ansible."""

INVENTORY = """
[edge_quiet]
edge-11
[edge_busy]
edge-12 geodrop_engine=xdp
[edge]
edge-11 ansible_host=198.18.0.11
edge-12 ansible_host=198.18.0.12
edge-13 ansible_host=198.18.0.13
edge-14 ansible_host=198.18.0.14
edge-15 ansible_host=198.18.0.15
[edge:vars]
ansible_user=root
ansible_ssh_private_key_file={folder}/key
ansible_ssh_common_args=-o UserKnownHostsFile={folder}/known_hosts
geodrop_engine=nftables
geodrop_interfaces=["eth*"]
"""
SETTINGS = """
geodrop_package:
  bookworm: {packages}/geodrop_{version}-1~deb12_amd64.deb
  trixie: {packages}/geodrop_{version}-1~deb13_amd64.deb
geodrop_policy: policy.yaml
geodrop_databases: [COUNTRY.mmdb]
geodrop_ruleset: fleet.ruleset
geodrop_soak: 2
geodrop_timeout: 60
geodrop_serial: [1, 1, 3]
geodrop_why: CHG-88
"""
SHORT = ("-e", "geodrop_confirm_timeout=90")
"""A window in which a busy machine still gets through a batch; it is waited for where a host undoes."""
STOPPED = "The rollout stopped at this batch; hosts after it are as before."


@pytest.fixture(scope="module")
def five(bare: dict[str, Path], packages: Path, machines: Path) -> Iterator[Fleet]:
    """Yield five bare hosts of both releases."""
    roots = [bare[release] for release in ("bookworm", "trixie", "bookworm", "trixie", "bookworm")]
    with fleet(roots, machines, INVENTORY) as made:
        made.write("fleet.yml", SETTINGS.format(packages=packages, version=__version__))
        made.write("policy.yaml", POLICY)
        yield made


@pytest.fixture
def steady(five: Fleet) -> Fleet:
    """Return the fleet with the first policy in force on each host, and no alarm; it is rolled out where it is not."""
    five.write("policy.yaml", POLICY)
    if not all(is_steady(host, five.digest) for host in five.hosts):
        done = five.rollout("-e", '{"geodrop_serial": [5]}')
        assert done.returncode == 0
        five.digest = five.hosts[0].status()["digest"]
    for host in five.hosts:
        assert is_steady(host, five.digest), host.status()["problems"]
    return five


def test_from_nothing_to_enforced(five: Fleet) -> None:
    """One command, on the oldest Ansible; again on the newest it changes nothing."""
    said = five.rollout("--check", "--diff", version=OLDEST)
    assert said.returncode == 0
    assert said.stdout.count("geodrop is not installed: would install") == 5
    assert five.rollout(version=OLDEST).returncode == 0
    for host in five.hosts:
        host.assert_now(DENIED, ALLOWED + SWITCHED)
        assert host.word() == ("enforcing", 0), host.status()["problems"]
        assert "CHG-88" in host.geodrop("history").stdout
    assert {one["engine"] for one in five[BUSY].status()["interfaces"]} == {"xdp"}
    with five.unnoticed(*ALL):
        for version in (NEWEST, OLDEST):
            again = five.rollout(version=version)
            assert again.returncode == 0
            assert set(re.findall(r"^edge-\d+ .* changed=(\d+)", again.stdout, re.MULTILINE)) == {"0"}


def test_a_change_goes_through_on_either_ansible(steady: Fleet) -> None:
    """Canaries first, then the rest; and the way back is another rollout."""
    for policy, version, denied, allowed in (
        (JAPAN_DENIED, NEWEST, DENIED + SWITCHED, ALLOWED),
        (POLICY, OLDEST, DENIED, ALLOWED + SWITCHED),
    ):
        steady.write("policy.yaml", policy)
        with steady.unnoticed(*ALL, allowed=ALLOWED):
            assert steady.rollout("-e", "geodrop_min_accepted=20", version=version).returncode == 0
        for host in steady.hosts:
            host.assert_now(denied, allowed)


def test_a_bad_policy_reaches_no_host(steady: Fleet) -> None:
    """The compiler names the place."""
    steady.write("policy.yaml", BAD)
    with steady.unnoticed(*ALL):
        done = steady.rollout()
    assert done.returncode == 2
    assert re.search(r'policy\.yaml:\d+:\d+: error: .*"nonsense"', done.stdout)
    assert "no host was touched" in done.stdout


def test_a_bad_database_reaches_no_host(steady: Fleet) -> None:
    """A damaged one is refused by the compiler, one without most countries is held by a limit on the first host."""
    database = steady.folder / "COUNTRY.mmdb"
    good = database.read_bytes()
    with steady.unnoticed(*ALL):
        database.write_bytes(good[: len(good) // 2])
        done = steady.rollout()
        assert done.returncode == 2
        assert "no host was touched" in done.stdout
        write_database(database, {"8.8.8.0/24": country("US"), "1.2.4.0/24": country("CN")})
        try:
            done = steady.rollout()
        finally:
            database.write_bytes(good)
        assert done.returncode == 2
        assert re.search(r"edge-11: held: .*; to accept exactly this: -e geodrop_accept=[0-9a-f]{12}", done.stdout)
        assert "Nothing new is in force on any host of it." in done.stdout


def test_a_policy_that_costs_customers_fails_its_gate(steady: Fleet) -> None:
    """Half of the packets that the first host accepted are dropped: it goes back, and no other host changes."""
    steady.write("policy.yaml", JAPAN_DENIED)
    with steady.unnoticed(*ALL[1:]), steady.unnoticed(QUIET, allowed=ALLOWED):
        done = steady.rollout(*SHORT, "-e", "geodrop_min_accepted=80")
        assert done.returncode == 2
        assert re.search(r"edge-11: gate: accepted packets of api fell to \d+% of the minute before", done.stdout)
        assert_undone(steady, done, QUIET)


def test_a_host_that_is_down_is_skipped(steady: Fleet) -> None:
    """The others change; the exit code and the last message tell of it, and the line that it gives catches up."""
    down = steady["edge-14"]
    down.cut_power()
    steady.write("policy.yaml", JAPAN_DENIED)
    done = steady.rollout("-e", "geodrop_min_accepted=20")
    assert done.returncode == 2
    assert "Unreachable, so skipped and as before: edge-14\n" in done.stdout
    [line] = set(re.findall(r"Once they answer: (.*)", done.stdout))
    for host in steady.hosts:
        if host is not down:
            host.assert_now(DENIED + SWITCHED, ALLOWED)
    down.power_on()
    down.assert_now(DENIED, ALLOWED + SWITCHED)
    steady.shell(f"{line} -e @fleet.yml -e geodrop_min_accepted=20")
    down.assert_now(DENIED + SWITCHED, ALLOWED)


def test_a_host_that_hangs_takes_its_batch_back(steady: Fleet) -> None:
    """Every process of it stops right after its reload; the canaries keep the change, the batch goes back by itself."""
    hanging = steady["edge-13"]
    steady.write("policy.yaml", JAPAN_DENIED)
    with steady.unnoticed(*ALL, allowed=ALLOWED):
        with steady.begun(*rollout(*SHORT, "-e", "geodrop_min_accepted=20", "-e", "geodrop_timeout=30")) as process:
            wait_for_canaries(steady)
            wait_for_trial(hanging)
            signal_all(hanging, signal.SIGSTOP)
            try:
                output, _ = process.communicate(timeout=300)
            finally:
                signal_all(hanging, signal.SIGCONT)
        print(output)
        assert process.returncode == 2
        assert re.search(r"edge-13: (?:hangs: no end within 30 s|gate: unreachable)", output)
        assert f"ansible-playbook geodrop.edge.rollout --limit {','.join(REST)}" in output
        for name in REST:
            wait_for_undo(steady[name])
    for name in (QUIET, BUSY):
        steady[name].assert_now(DENIED + SWITCHED, ALLOWED)
    for name in REST:
        steady[name].assert_now(DENIED, ALLOWED + SWITCHED)


def test_a_controller_that_is_killed_leaves_nothing_on_trial(steady: Fleet) -> None:
    """The kernels of the batch go back, with nobody left to ask them; a second rollout goes on."""
    steady.write("policy.yaml", JAPAN_DENIED)
    more = ("-e", "geodrop_min_accepted=20")
    with steady.unnoticed(*ALL, allowed=ALLOWED):
        with steady.begun(*rollout(*SHORT, *more, "-e", "geodrop_soak=12")) as process:
            wait_for_canaries(steady)
            for name in REST:
                wait_for_trial(steady[name])
            os.killpg(process.pid, signal.SIGKILL)
        for name in REST:
            wait_for_undo(steady[name])
        assert steady.rollout(*more).returncode == 0
    for host in steady.hosts:
        host.assert_now(DENIED + SWITCHED, ALLOWED)
        assert host.word() == ("enforcing", 0)


def test_a_full_disk_stops_before_anything_is_in_force(steady: Fleet) -> None:
    """The host that cannot take the file is named; its batch has the policy of before, and no trial."""
    steady.write("policy.yaml", JAPAN_DENIED)
    with steady.unnoticed(*ALL, allowed=ALLOWED), steady.unnoticed(*REST), full(steady["edge-15"]):
        done = steady.rollout("-e", "geodrop_min_accepted=20")
        assert done.returncode == 2
        # What SSH says of it stands on lines of its own.
        assert re.search(r"edge-15: Task failed: .*?[Nn]o space left", done.stdout.partition(STOPPED)[2], re.DOTALL)
        assert STOPPED in done.stdout
        assert "Nothing new is in force on any host of it." in done.stdout
        assert [steady[name].status()["confirm"] for name in REST] == [None] * 3


def test_a_batch_that_does_not_fit_its_window_is_not_begun(steady: Fleet) -> None:
    """The message has the size that would fit."""
    steady.write("policy.yaml", JAPAN_DENIED)
    with steady.unnoticed(*ALL):
        done = steady.rollout("-f", "1", "-e", "geodrop_confirm_timeout=45")
    assert done.returncode == 2
    assert re.search(r"a batch of 3 does not fit .*one of\s+2\s+would", done.stdout, re.DOTALL)


def test_another_version_of_the_agent_and_back(steady: Fleet, newer_packages: Path) -> None:
    """Batch by batch every daemon is replaced; no packet is judged wrong on any host, and no ruleset is reloaded."""
    generations = [host.status()["generation"] for host in steady.hosts]
    for version in (NEXT, __version__):
        steady.write("version.yml", SETTINGS.format(packages=newer_packages, version=version))
        processes = [host.show("geodrop.service", "MainPID") for host in steady.hosts]
        with steady.unnoticed(*ALL):
            assert steady.rollout("-e", "@version.yml").returncode == 0
            for host in steady.hosts:
                host.wait_for_health()
        for host, pid in zip(steady.hosts, processes, strict=True):
            assert version in host.geodrop("--version").stdout
            assert host.show("geodrop.service", "MainPID") not in ("0", pid)
        assert [host.status()["generation"] for host in steady.hosts] == generations


def rollout(*arguments: str) -> tuple[str, ...]:
    """Return the command line of a rollout."""
    return ("ansible-playbook", "geodrop.edge.rollout", "-e", "@fleet.yml", *arguments)


def is_steady(host: Host, digest: str) -> bool:
    """Whether a host is well and enforces this ruleset, which is not on trial."""
    done = host.geodrop("status", "--json")
    if done.returncode != 0:
        return False
    found = json.loads(done.stdout)
    return (found["digest"], found["confirm"]) == (digest, None)


def wait_for_canaries(made: Fleet) -> None:
    """Wait until the first two batches have changed, each of which may take as long as anything that is waited for."""
    for name in (QUIET, BUSY):
        wait_for_change(made[name], made.digest)


def wait_for_change(host: Host, digest: str) -> None:
    """Wait until something else is in force."""
    host.wait_for(f"the change of {host.name}", lambda: host.status()["digest"] != digest)


def wait_for_trial(host: Host) -> None:
    """Wait until a load waits to be confirmed."""
    host.wait_for(f"the trial of {host.name}", lambda: '"confirm": {' in host.geodrop("status", "--json").stdout)


def wait_for_undo(host: Host) -> None:
    """Wait until the kernel has gone back."""
    host.wait_for(f"the undo of {host.name}", lambda: host.status()["undone"] and not host.status()["confirm"])


def assert_undone(made: Fleet, done: subprocess.CompletedProcess[str], *names: str) -> None:
    """Check that the last message names the hosts and their deadline, and that they go back."""
    assert STOPPED in done.stdout
    assert re.search(rf"On trial, undone by the hosts themselves at [\dT:-]+Z: {', '.join(names)}", done.stdout)
    for name in names:
        wait_for_undo(made[name])
        made[name].assert_now(DENIED, ALLOWED + SWITCHED)


def signal_all(host: Host, number: signal.Signals) -> None:
    """Send a signal to every process of a host but its PID 1 and the sender (kill(2), -1)."""
    host.machine.try_run("/bin/kill", f"-{int(number)}", "--", "-1")


@contextlib.contextmanager
def full(host: Host) -> Iterator[None]:
    """Leave a host, whose files are in memory, no more room than it takes now and 1 MB."""
    scratch = str(host.machine.root.parent)
    used = os.statvfs(scratch)
    size = (used.f_blocks - used.f_bfree) * used.f_frsize + (1 << 20)
    run("mount", "-o", f"remount,size={size}", scratch)
    try:
        yield
    finally:
        run("mount", "-o", "remount,size=50%", scratch)
