# SPDX-License-Identifier: Apache-2.0
"""Two hosts that take only what a trusted key has signed, and that fetch it from a URL."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
from hashlib import file_digest
from typing import TYPE_CHECKING

import pytest

from tests.fleet.hosts import changed
from tests.fleet.policies import JAPAN_DENIED, POLICY
from tests.support.namespaces import run
from tests.system.edge import ALLOWED, DENIED, SOURCES, SWITCHED

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

    from tests.fleet.hosts import Fleet

pytestmark = [pytest.mark.root, pytest.mark.slow, pytest.mark.fleet]

BOTH = ("edge-11", "edge-12")
UNTOUCHED = "Nothing new is in force on any host of it."


@pytest.fixture(scope="module", autouse=True)
def _keys(pair: Fleet) -> None:
    """Make two keys that may sign."""
    for name in ("old", "new"):
        run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(pair.folder / name))


def test_nothing_unsigned_comes_in_force(pair: Fleet) -> None:
    """On bare hosts: without a signature the rollout stops, with one it enforces, and a second run changes nothing."""
    unsigned = pair.rollout(*trusting(pair, "old"))
    assert unsigned.returncode == 2
    assert re.search(r"edge-11: .*fleet\.ruleset\.sig: No such file .*; next: sign it", unsigned.stdout)
    for host in pair.hosts:
        host.assert_now((), SOURCES)
    signed = (*trusting(pair, "old"), "-e", "geodrop_sign=old")
    with unchanged(pair):
        assert pair.rollout(*signed, "--check", "--diff").returncode == 0
    assert pair.rollout(*signed).returncode == 0
    assert_signed(pair, "old")
    with pair.unnoticed(*BOTH), unchanged(pair):
        assert_idle(pair.rollout(*signed))


def test_what_no_trusted_key_signed_is_refused_before_it_lands(pair: Fleet) -> None:
    """Another key, other bytes, a signature that is missing: the host says why, and keeps file, keys and verdicts."""
    pair.write("policy.yaml", JAPAN_DENIED)
    ruleset, signature = pair.folder / "fleet.ruleset", pair.folder / "fleet.ruleset.sig"
    with pair.unnoticed(*BOTH), unchanged(pair):
        done = pair.rollout(*trusting(pair, "old"), "-e", "geodrop_sign=new")
        assert_refused(
            done.returncode, done.stdout, r"made by key SHA256:\S+, which is not in /etc/geodrop/allowed_sig"
        )
        done = pair.rollout(*trusting(pair, "new"), "-e", "geodrop_sign=old")
        assert_refused(done.returncode, done.stdout, r"which is not in /etc/geodrop/allowed_signers\.staged")
        done = pair.rollout(*trusting(pair, "old"))
        assert_refused(done.returncode, done.stdout, r"a signature of other bytes than")
        signature.unlink()
        done = pair.rollout(*trusting(pair, "old"))
        assert_refused(done.returncode, done.stdout, r"fleet\.ruleset\.sig: No such file")
        pair.shell("geodrop compile --policy policy.yaml --database COUNTRY.mmdb -o fleet.ruleset --sign old")
        content = ruleset.read_bytes()
        ruleset.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        done = as_it_is(pair, *trusting(pair, "old"))
        assert_refused(done.returncode, done.stdout, r"fleet\.ruleset\.staged: ")
    pair.write("policy.yaml", POLICY)


def test_what_a_stopped_rollout_left_never_lands(pair: Fleet) -> None:
    """The keys of a rollout that was refused lie beside those in force; the next rollout drops them."""
    done = pair.rollout(*trusting(pair, "new"), "-e", "geodrop_sign=old")
    assert done.returncode == 2
    for host in pair.hosts:
        host.machine.run("test", "-e", "/etc/geodrop/allowed_signers.staged")
    pair.write("policy.yaml", JAPAN_DENIED)
    assert pair.rollout(*trusting(pair, "old"), "-e", "geodrop_sign=old").returncode == 0
    assert_signed(pair, "old")
    for host in pair.hosts:
        host.assert_now(DENIED + SWITCHED, ALLOWED)


def test_an_old_file_is_refused_and_rollback_goes_back(pair: Fleet) -> None:
    """A signed file that was replaced since is replayed; what the host accepted before comes back by rollback."""
    for name in ("fleet.ruleset", "fleet.ruleset.sig"):
        shutil.copy(pair.folder / name, pair.folder / f"kept.{name}")
    pair.write("policy.yaml", POLICY)
    assert pair.rollout(*trusting(pair, "old"), "-e", "geodrop_sign=old").returncode == 0
    with pair.unnoticed(*BOTH), unchanged(pair):
        done = as_it_is(pair, *trusting(pair, "old"), "-e", "geodrop_ruleset=kept.fleet.ruleset")
        assert_refused(done.returncode, done.stdout, "an old one again")
    pair.shell('ansible edge -b -a "geodrop rollback --why CHG-88"')
    for host in pair.hosts:
        host.assert_now(DENIED + SWITCHED, ALLOWED)
    assert pair.rollout(*trusting(pair, "old"), "-e", "geodrop_sign=old").returncode == 0
    for host in pair.hosts:
        host.assert_now(DENIED, ALLOWED + SWITCHED)


def test_one_key_is_changed_for_another(pair: Fleet) -> None:
    """As docs/fleet.md has it: add, sign, look, remove. No packet notices, and each step is stable."""
    with pair.unnoticed(*BOTH):
        for trusted, key in ((("old", "new"), "old"), (("old", "new"), "new"), (("new",), "new")):
            arguments = (*trusting(pair, *trusted), "-e", f"geodrop_sign={key}")
            assert pair.rollout(*arguments).returncode == 0
            assert_signed(pair, key)
            with unchanged(pair):
                assert_idle(pair.rollout(*arguments))


def test_a_stolen_key_is_replaced_in_one_rollout(pair: Fleet) -> None:
    """Keys and ruleset land together, so that the stolen key never counts beside the new one; keys from a file."""
    pair.write("trusted", lines(pair, "old")[0] + "\n")
    arguments = ("-e", "geodrop_trusted_keys=trusted", "-e", "geodrop_sign=old")
    with pair.unnoticed(*BOTH):
        assert pair.rollout(*arguments).returncode == 0
        assert_signed(pair, "old")
        assert_idle(pair.rollout(*arguments))


def test_hosts_fetch_it_from_a_url(pair: Fleet) -> None:
    """Other bytes than the checksum says are refused; the right ones are fetched once by each host, and not again."""
    pair.write("policy.yaml", JAPAN_DENIED)
    pair.shell("geodrop compile --policy policy.yaml --database COUNTRY.mmdb -o fleet.ruleset --sign old")
    served = pair.folder / "served"
    served.mkdir()
    shutil.copy(pair.folder / "fleet.ruleset", served)
    with (pair.folder / "fleet.ruleset").open("rb") as file:
        checksum = file_digest(file, "sha256").hexdigest()
    with pair.serving(served) as url:
        arguments = (*trusting(pair, "old"), "-e", f"geodrop_ruleset_url={url}")
        with pair.unnoticed(*BOTH), unchanged(pair):
            done = as_it_is(pair, *arguments, "-e", f"geodrop_ruleset_checksum=sha256:{'0' * 64}")
            assert_refused(done.returncode, done.stdout, "checksum .* did not match")
        before = len(gets(pair))
        right = (*arguments, "-e", f"geodrop_ruleset_checksum=sha256:{checksum}")
        assert as_it_is(pair, *right).returncode == 0
        assert sorted(gets(pair)[before:]) == [host.address for host in pair.hosts]
        for host in pair.hosts:
            host.assert_now(DENIED + SWITCHED, ALLOWED)
        assert_signed(pair, "old")
        with unchanged(pair):
            assert_idle(as_it_is(pair, *right))
        assert len(gets(pair)) == before + 2


def as_it_is(made: Fleet, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Roll out the ruleset that lies there, without compiling."""
    return made.ansible("geodrop.edge.rollout", "-e", "@as_it_is.yml", *arguments)


def lines(made: Fleet, *names: str) -> list[str]:
    """Return the lines of allowed_signers with which hosts trust these keys of the controller."""
    found = []
    for name in names:
        kind, key, _ = (made.folder / f"{name}.pub").read_text().split(" ", 2)
        found.append(f'{name} namespaces="ruleset@geodrop" {kind} {key}')
    return found


def trusting(made: Fleet, *names: str) -> tuple[str, str]:
    """Return the arguments with which hosts trust these keys."""
    return "-e", json.dumps({"geodrop_trusted_keys": lines(made, *names)})


def assert_signed(made: Fleet, name: str) -> None:
    """Check that each host is well, names this key, and has nothing staged."""
    fingerprint = run("ssh-keygen", "-l", "-f", str(made.folder / f"{name}.pub")).split()[1]
    for host in made.hosts:
        assert host.word() == ("enforcing", 0), host.status()["problems"]
        found = host.status()["signature"]
        assert (found["principal"], found["key"]) == (name, fingerprint)
        assert not host.machine.run("find", "/etc/geodrop", "-name", "*.staged*", "-o", "-name", "*.candidate")
        modes = host.machine.run(
            "stat", "-c", "%U:%G %a", "/etc/geodrop/allowed_signers", "/etc/geodrop/fleet.ruleset.sig"
        )
        assert set(modes.splitlines()) == {"root:geodrop 640"}


def assert_idle(done: subprocess.CompletedProcess[str]) -> None:
    """Check that a rollout found nothing to do."""
    assert done.returncode == 0
    assert changed(done.stdout) == dict.fromkeys(BOTH, 0)


def assert_refused(code: int, said: str, reason: str) -> None:
    """Check that a rollout stopped for this reason, on both hosts, with nothing new in force."""
    assert code == 2
    for name in BOTH:
        assert re.search(rf"^ *{name}: .*{reason}", said, re.MULTILINE), said
    assert UNTOUCHED in said


@contextlib.contextmanager
def unchanged(made: Fleet) -> Iterator[None]:
    """Check that neither what landed on the hosts nor the generation in force changes while the body runs."""

    def found() -> list[tuple[str, str]]:
        files = "sha256sum /etc/geodrop/{agent.yaml,allowed_signers,fleet.ruleset,fleet.ruleset.sig} 2>&1 || true"
        return [
            (
                host.machine.run("bash", "-c", files),
                host.geodrop("status", "--json").stdout and str(host.status()["generation"]),
            )
            for host in made.hosts
        ]

    before = found()
    yield
    assert found() == before


def gets(made: Fleet) -> list[str]:
    """Return who has fetched the ruleset, in order."""
    log = (made.folder / "served.log").read_text()
    return re.findall(r'^([\d.]+) .*"GET /fleet\.ruleset HTTP[^"]*" 200', log, re.MULTILINE)
