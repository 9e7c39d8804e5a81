# SPDX-License-Identifier: Apache-2.0
"""Signed rulesets on a host of each release: its own ssh-keygen, inside the sandbox of the unit, under packets."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.system.edge import ALLOWED, DENIED, JAPAN_DENIED, POLICY, SWITCHED

if TYPE_CHECKING:
    from collections.abc import Sequence

    from tests.system.edge import Edge

pytestmark = [pytest.mark.root, pytest.mark.slow]

FLEET = "/etc/geodrop/fleet.ruleset"
ALLOWED_SIGNERS, REVOKED = "/etc/geodrop/allowed_signers", "/etc/geodrop/revoked_keys"
KEYS = "/root/keys"
OURS = "ruleset@geodrop"
AGENT = f'source: {{ruleset: fleet.ruleset}}\ninterfaces: ["eth*"]\nkeys: {ALLOWED_SIGNERS}\nrevoked_keys: {REVOKED}\n'

TRUSTED = {
    "alice": f'namespaces="{OURS}"',
    "late": f'namespaces="{OURS}",valid-before="20240101Z"',
    "early": f'namespaces="{OURS}",valid-after="20400101Z"',
    "git": 'namespaces="git"',
    "gone": f'namespaces="{OURS}"',
}
"""The keys in the file, with their options. There is also eve's, which is not in it."""

REFUSED = {
    "late": "key has expired",
    "early": "key is not yet valid",
    "git": f"may not sign for {OURS}",
    "gone": f"is revoked by {REVOKED}",
    "eve": f"is not in {ALLOWED_SIGNERS}",
}


def compile_signed(host: Edge, policy: str) -> None:
    """Compile a policy on the host itself, and sign it."""
    host.machine.write("/root/policy.yaml", policy)
    inputs = ("--policy", "/root/policy.yaml", "--database", "/var/lib/GeoIP/country.mmdb")
    host.machine.run("geodrop", "compile", *inputs, "-o", FLEET, "--sign", f"{KEYS}/alice")


def sign(host: Edge, key: str, namespace: str = OURS) -> None:
    """Sign the file as it is, by hand."""
    command = f"ssh-keygen -q -Y sign -n {namespace} -f {KEYS}/{key} <{FLEET} >{FLEET}.sig"
    host.machine.run("sh", "-c", command)


def revoke(host: Edge, keys: Sequence[str]) -> None:
    """Write a KRL of these keys."""
    publics = " ".join(f"{KEYS}/{key}.pub" for key in keys)
    host.machine.run("sh", "-c", f"ssh-keygen -q -k -f {REVOKED} {publics}; chmod 0644 {REVOKED}")


@pytest.fixture
def signed(host: Edge) -> Edge:
    """Return the host with keys, and a signed ruleset that denies China, which is not loaded yet."""
    host.wait_for_health()
    machine = host.machine
    made = f"for key in {' '.join(TRUSTED)} eve; do ssh-keygen -q -t ed25519 -N '' -f {KEYS}/$key; done"
    machine.run("sh", "-c", f"mkdir {KEYS}; {made}")
    public = {key: (machine.root / f"{KEYS[1:]}/{key}.pub").read_text() for key in TRUSTED}
    machine.write(ALLOWED_SIGNERS, "".join(f"{key}@example.com {TRUSTED[key]} {public[key]}" for key in TRUSTED))
    revoke(host, ["gone"])
    compile_signed(host, POLICY)
    return host


def test_a_host_begins_to_demand_signatures(signed: Edge) -> None:
    """The signed ruleset takes the place of the one that the host compiled; then only signed ones come in force.

    Each kind of bad signature is refused by the daemon in its unit, with the reason that this release's ssh-keygen
    gives; no packet is judged otherwise meanwhile. Root is told the same by `check` and `plan`, without the unit's
    sandbox, where ssh-keygen runs as nobody.
    """
    with signed.watched(DENIED, ALLOWED + SWITCHED):
        signed.agent(AGENT)
        assert signed.systemctl("reload", "geodrop").returncode == 0, signed.machine.journal("geodrop")
        found = signed.status()["signature"]
        assert found["principal"] == "alice@example.com"
        assert found["key"].startswith("SHA256:")
        for key, said in REFUSED.items():
            sign(signed, key)
            assert_refused(signed, said)
        sign(signed, "alice", "file")
        assert_refused(signed, f"made for something else than {OURS}")
        signed.machine.run("sh", "-c", f"echo nonsense >{FLEET}.sig")
        assert_refused(signed, "no signature that ssh-keygen can read")
        signed.machine.run("rm", f"{FLEET}.sig")
        assert_refused(signed, "not signed")
        sign(signed, "alice")
        before = (signed.machine.root / f"{FLEET[1:]}.sig").read_bytes()
        compile_signed(signed, JAPAN_DENIED)
        (signed.machine.root / f"{FLEET[1:]}.sig").write_bytes(before)
        said = "a signature of other bytes"
        assert_refused(signed, said)
        assert_refused(signed, said, "check")
        planned = signed.geodrop("plan", "--exit-code", FLEET)
        assert (planned.returncode, said in planned.stdout) == (65, True), planned.stdout
    compile_signed(signed, JAPAN_DENIED)
    signed.machine.run("geodrop", "reload")
    signed.assert_now(DENIED + SWITCHED, ALLOWED)


def assert_refused(host: Edge, said: str, command: str = "reload") -> None:
    """Check that a reload, or another command, refuses what the file holds, and says why."""
    done = host.geodrop(command)
    assert (done.returncode, said in done.stderr) == (65, True), done.stderr


def test_a_boot_needs_no_key(host: Edge) -> None:
    """After a reboot the ruleset that was accepted is in force before the network, though its key is revoked now.

    The daemon refuses to read the file again, says so, and goes on. A rollback works, and so does the next signed one.
    """
    revoke(host, ["gone", "alice"])
    host.power_off()
    host.power_on_only()
    assert host.machine.wait_until_up() == "running", host.machine.journal("geodrop*")
    host.assert_now(DENIED + SWITCHED, ALLOWED)
    assert host.problem("is revoked by")
    host.machine.run("geodrop", "rollback")
    host.assert_now(DENIED, ALLOWED + SWITCHED)
    revoke(host, ["gone"])
    host.machine.run("geodrop", "reload")
    host.wait_for_health()
    host.assert_now(DENIED + SWITCHED, ALLOWED)


def test_the_daemon_may_not_choose_whom_to_trust(host: Edge) -> None:
    """A file of keys that its user could change is refused, and the message has the command that sets it right."""
    host.machine.own(ALLOWED_SIGNERS, "geodrop", "geodrop")
    done = host.geodrop("reload")
    assert done.returncode == 78
    assert f"chown root:geodrop {ALLOWED_SIGNERS}" in done.stderr
    host.machine.own(ALLOWED_SIGNERS, "root", "geodrop")
    host.machine.run("geodrop", "reload")
    host.wait_for_health()
