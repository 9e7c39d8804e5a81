# SPDX-License-Identifier: Apache-2.0
"""What the units may do, who may ask the daemon for what, and what root may do by hand beside it."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING

import pytest

if TYPE_CHECKING:
    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

EXPOSURE = {"geodrop.service": 1.4, "geodrop-boot.service": 1.5, "geodrop-compile@.service": 0.6}
"""The highest exposure that `systemd-analyze security` may report of a unit; 10 is the worst."""
WITH_XDP = 1.5
DOCTOR = "/root/doctor.json"


@pytest.mark.parametrize("unit", EXPOSURE)
def test_units_are_hardened(host: Edge, unit: str) -> None:
    """Units are checked as files and, if running, as systemd made them."""
    _check(host, unit, EXPOSURE[unit], f"/usr/local/lib/systemd/system/{unit}")
    if "@" not in unit:
        found = host.machine.run("systemd-analyze", "security", "--no-pager", unit)
        assert _exposure(found) <= EXPOSURE[unit], found


def test_what_xdp_needs_is_not_much_more(host: Edge) -> None:
    """The drop-in adds capabilities; the rest stays."""
    unit = (host.machine.root / "usr/local/lib/systemd/system/geodrop.service").read_text()
    drop_in = (host.machine.root / "root/geodrop/systemd/geodrop.service.d/xdp.conf").read_text()
    host.machine.write("/root/geodrop-xdp.service", unit + drop_in)
    _check(host, "geodrop-xdp.service", WITH_XDP, "/root/geodrop-xdp.service")


def test_the_units_are_written_well(host: Edge) -> None:
    """There is nothing in them that systemd warns about."""
    units = ["geodrop.service", "geodrop-boot.service", "geodrop-compile.socket", "run-geodrop-bpf.mount"]
    done = host.machine.try_run("systemd-analyze", "verify", "--man=no", *units)
    said = [line for line in done.stderr.splitlines() if "geodrop" in line]
    assert (done.returncode, said) == (0, [])


def test_doctor_says_what_it_could_not_try(host: Edge) -> None:
    """Root tries each kind of rule in a network namespace of its own. The daemon's user, with its unit's rights, may
    make none, and says so with the next step; both can enforce, and change nothing.
    """
    unit = (host.machine.root / "usr/local/lib/systemd/system/geodrop.service").read_text()
    for name, value in (
        ("Type", "oneshot"),
        ("Restart", "no"),
        ("ExecStart", "/opt/geodrop/bin/geodrop doctor --json"),
    ):
        unit = re.sub(rf"^{name}=.*$", f"{name}={value}", unit, flags=re.MULTILINE)
    host.machine.write(
        "/etc/systemd/system/geodrop-doctor.service", f"{unit}\n[Service]\nStandardOutput=file:{DOCTOR}\n"
    )
    before = host.machine.run("nft", "list", "ruleset")
    by_root = json.loads(host.machine.run("geodrop", "doctor", "--json"))
    host.machine.run("systemctl", "daemon-reload")
    host.machine.run("systemctl", "start", "geodrop-doctor")
    by_user = json.loads((host.machine.root / DOCTOR.lstrip("/")).read_text())
    found = [{one["name"]: one for one in report["findings"]} for report in (by_root, by_user)]
    assert (by_root["can_enforce"], by_user["can_enforce"]) == (True, True)
    assert [one["nftables: capabilities"]["status"] for one in found] == ["ok", "ok"]
    assert found[0]["nftables: rules"]["found"].startswith("tried: ")
    assert "nftables: rules" not in found[1]
    assert "run doctor as root" in str(found[1]["nftables: nf_tables"])
    assert "CAP_BPF" in found[1]["xdp: capabilities"]["found"]
    assert {one["user"]["found"].split(",")[0] for one in found} == {"geodrop"}
    after = host.machine.run("nft", "list", "ruleset")
    assert _without_counts(after) == _without_counts(before)


def test_readers_read_and_members_change(host: Edge) -> None:
    """Group geodrop-monitor may read the state, group geodrop may change it, others may do neither."""
    users = {"reader": "geodrop-monitor", "member": "geodrop", "stranger": ""}
    for user, group in users.items():
        host.machine.run("useradd", *(["--groups", group] if group else []), user)
    codes = {
        user: [
            host.machine.try_run("runuser", "-u", user, "--", "geodrop", verb).returncode
            for verb in ("status", "plan", "reload")
        ]
        for user in users
    }
    assert codes == {"reader": [0, 0, 77], "member": [0, 0, 0], "stranger": [77, 77, 77]}


def test_log_entries_have_fields(host: Edge) -> None:
    """An operator finds entries by fields and not by their text."""
    assert host.geodrop("reload").returncode == 0
    found = host.log("reloaded")[-1]
    assert "unchanged" in found["GEODROP_OUTCOME"]
    assert found["PRIORITY"] == "6"
    assert found["SYSLOG_IDENTIFIER"] == "geodrop"
    assert found["_SYSTEMD_UNIT"] == "geodrop.service"
    asked = host.log("asked")[-1]
    assert (asked["GEODROP_VERB"], asked["GEODROP_UID"]) == ("reload", "0")


def test_root_by_hand_waits_for_the_daemon_to_end(host: Edge) -> None:
    """A load beside a daemon is refused, with the way to do it."""
    kept = host.machine.run("sh", "-c", "ls /var/lib/geodrop/rulesets/*.ruleset").split()[0]
    done = host.geodrop("load", kept)
    assert done.returncode == 75
    assert "geodrop reload" in done.stderr


def test_what_root_does_by_hand_the_daemon_goes_on_with(host: Edge) -> None:
    """With the daemon stopped root compiles, loads, pauses and resumes; the daemon reads and continues all of it."""
    machine = host.machine
    with host.watched():
        machine.run("systemctl", "stop", "geodrop")
        sources = ("--policy", "/etc/geodrop/policy.yaml", "--database", "/var/lib/GeoIP/country.mmdb")
        machine.run("sh", "-c", "sed 's/VE\\]/VE, JP]/' /etc/geodrop/policy.yaml >/root/policy.yaml")
        machine.run("geodrop", "compile", "--policy", "/root/policy.yaml", *sources[2:], "-o", "/root/by-hand.ruleset")
        before = host.status()
        machine.run("geodrop", "load", "/root/by-hand.ruleset")
    loaded = host.status()
    assert loaded["generation"] == before["generation"] + 1
    machine.run("geodrop", "pause", "--for", "1h", "--why", "test")
    machine.run("geodrop", "resume")
    strangers = machine.run("find", "/var/lib/geodrop", "/run/geodrop", "-not", "-user", "geodrop").split()
    assert strangers in ([], ["/run/geodrop/compile.sock"])
    with host.watched():
        machine.run("systemctl", "start", "geodrop")
        assert host.geodrop("reload").returncode == 0
    found = host.status()
    assert found["healthy"], found["problems"]
    assert found["digest"] == before["digest"]
    origins = re.findall(r"\b(load|pause|resume|reload)\b", host.geodrop("history").stdout)
    assert set(origins) >= {"load", "pause", "resume", "reload"}


def _check(host: Edge, unit: str, threshold: float, path: str) -> None:
    """Check a unit file with systemd."""
    options = ["--no-pager", "--offline=yes", f"--threshold={threshold * 10:.0f}"]
    done = host.machine.try_run("systemd-analyze", "security", *options, path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert _exposure(done.stdout) <= threshold, unit


def _without_counts(rules: str) -> str:
    return re.sub(r"packets \d+ bytes \d+", "", rules)


def _exposure(text: str) -> float:
    found = re.search(r"Overall exposure level for \S+: ([0-9.]+)", text)
    assert found, text
    return float(found[1])
