# SPDX-License-Identifier: Apache-2.0
"""A host that demands signatures, with real kernel, daemon and ssh-keygen: what gets in, and what does not."""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.ruleset import container
from geodrop.ruleset.dated import dated
from geodrop.ruleset.model import Ruleset
from geodrop.state.store import Store
from tests.support.cli import Geodrop
from tests.support.daemons import daemon
from tests.support.signing import FOR_RULESETS, SigningKeys
from tests.support.waiting import until

if TYPE_CHECKING:
    from collections.abc import Callable

    from tests.kernel.daemon.conftest import Host

NO_SSH_KEYGEN = ("unshare", "--mount", "sh", "-c", 'mount --bind /dev/null /usr/bin/ssh-keygen && exec "$@"', "sh")
"""Runs a command where ssh-keygen cannot be run."""


@dataclass(frozen=True)
class SignedHost:
    """A host whose agent.yaml names a ruleset that was compiled elsewhere, and the keys that may sign it."""

    host: Host
    keys: SigningKeys

    @property
    def fleet(self) -> Path:
        """The file that `source` names."""
        return self.host.folder / "fleet.ruleset"

    def compile(self, *regions: str, key: str = "alice", output: Path | None = None) -> None:
        """Compile and sign a ruleset that denies regions, as another host would."""
        self.host.deny(*regions)
        policy, database = self.host.folder / "policy.yaml", self.host.folder / "country.mmdb"
        inputs = ("--policy", str(policy), "--database", str(database))
        self.host.geodrop.good("compile", *inputs, "-o", str(output or self.fleet), "--sign", str(self.keys.key(key)))

    def date(self, moment: float, key: str = "alice") -> None:
        """Give the file another compile time, and sign it."""
        self.fleet.write_bytes(dated(container.open_file(self.fleet), int(moment)))
        self.keys.sign(self.fleet, key)

    def agent(self, more: str = "") -> None:
        """Write the agent.yaml of a host that demands signatures."""
        demands = f"keys: {self.keys.allowed}\nrevoked_keys: {self.keys.revoked}\n"
        self.host.agent("{ruleset: fleet.ruleset}", demands + more)


@pytest.fixture
def signed(host: Host) -> SignedHost:
    """Return a host with a signed ruleset that denies China."""
    keys = SigningKeys(host.folder / "keys")
    keys.trust("alice", f'late {FOR_RULESETS},valid-before="20240101"', 'other namespaces="git"', "gone")
    keys.revoke("gone")
    made = SignedHost(host, keys)
    made.compile("CN")
    made.agent()
    return made


def altered(signed: SignedHost) -> None:
    """Replace the file, and keep the signature of the one before."""
    before = Path(f"{signed.fleet}.sig").read_bytes()
    signed.compile("RU", key="eve")
    Path(f"{signed.fleet}.sig").write_bytes(before)


def delta(signed: SignedHost) -> None:
    """Replace the file by a delta file, with its base beside it, both signed."""
    base = container.open_file(signed.fleet)
    (signed.host.folder / f"{base.digest}.ruleset").write_bytes(signed.fleet.read_bytes())
    meta = dict(base.meta) | {"compiled": int(time.time())}  # type: ignore[call-overload]
    meta["policy"] += "# changed\n"
    signed.fleet.write_bytes(container.pack(meta, base.sections, base))
    signed.keys.sign(signed.fleet, "alice")


def stripped(signed: SignedHost) -> None:
    """Replace the file, and remove the signature."""
    signed.compile("RU")
    Path(f"{signed.fleet}.sig").unlink()


def for_git(signed: SignedHost) -> None:
    """Sign the new file as one signs a commit."""
    signed.compile("RU")
    signed.keys.sign(signed.fleet, "alice", namespace="git")


def by(key: str) -> Callable[[SignedHost], None]:
    """Return what signs the new file with a key."""
    return lambda signed: signed.compile("RU", key=key)


def at(later: float) -> Callable[[SignedHost], None]:
    """Return what signs a new file that was compiled some seconds from now."""

    def make(signed: SignedHost) -> None:
        signed.compile("RU")
        signed.date(time.time() + later)

    return make


REFUSED: dict[str, tuple[Callable[[SignedHost], None], str]] = {
    "stripped": (stripped, "not signed, and `keys` in"),
    "altered": (altered, "a signature of other bytes"),
    "unknown key": (by("eve"), "allowed_signers"),
    "expired": (by("late"), "key has expired"),
    "revoked": (by("gone"), "is revoked by"),
    "no right to rulesets": (by("other"), "may not sign for ruleset@geodrop"),
    "other namespace": (for_git, "made for something else than ruleset@geodrop"),
    "replayed": (at(-86_400), "is an old one again"),
    "of tomorrow": (at(86_400), "which is to come"),
    "a delta": (delta, "a delta file"),
}
"""What may not get in, and what is said of it."""


@pytest.mark.parametrize("name", REFUSED)
def test_refused_on_every_path(signed: SignedHost, name: str) -> None:
    """By hand, at the start of a daemon and by a reload it is refused, with the next step; what is in force stays.

    The daemon says why, and takes the next ruleset that is signed.
    """
    geodrop, host = signed.host.geodrop, signed.host
    geodrop.good("load", str(signed.fleet))
    before = host.table()
    make, said = REFUSED[name]
    make(signed)
    for command in (("load", str(signed.fleet)), ("check",)):
        done = geodrop.run(*command)
        assert (done.code, host.table()) == (65, before), done
        assert said in done.err
        assert "; " in done.err
    assert_planned(geodrop, said, str(signed.fleet))
    with daemon(geodrop) as running:
        assert said in running.said[-1]
        done = geodrop.run("reload")
        assert (done.code, host.table()) == (65, before), done
        assert said in done.err
        assert_planned(geodrop, said)
        status = geodrop.run("status", "--json")
        assert status.code == 1
        assert any(said in problem for problem in status.json["problems"])
        signed.fleet.unlink()  # beside an old file with the same rules it would keep its date
        signed.compile("RU")
        assert geodrop.good("plan", "--json").json["refused"] is None
        geodrop.good("reload")
        assert [host.drops(address) for address in ("1.0.0.1", "2.0.0.1")] == [False, True]


def assert_planned(geodrop: Geodrop, said: str, *arguments: str) -> None:
    """Check that a plan says in the same words that a reload would be refused, and what to do about it."""
    done = geodrop.run("plan", "--exit-code", *arguments)
    assert done.code == 65, done
    assert said in next(line for line in done.out.splitlines() if line.startswith("refused  "))
    refused = geodrop.good("plan", "--json", *arguments).json["refused"]
    assert (refused["exit"], said in refused["error"]) == (65, True)
    assert done.out.splitlines()[-1].endswith(f"; {refused['next_step']}")


def test_watch(signed: SignedHost) -> None:
    """With `watch: true` a file without a signature waits, one with a wrong one is refused, a signed one is loaded."""
    host, signature = signed.host, Path(f"{signed.fleet}.sig")
    signed.agent("watch: true\n")
    with daemon(host.geodrop) as running:
        before = host.table()
        altered(signed)
        until(lambda: "a signature of other bytes" in running.log)
        assert host.table() == before
        signature.unlink()
        signed.compile("RU")
        until(lambda: host.table() != before)
        assert host.drops("2.0.0.1")


def test_what_was_accepted_needs_no_key(signed: SignedHost) -> None:
    """A rollback, a repair, a boot and a daemon's start work after the key was revoked, or is gone with its file."""
    host, geodrop = signed.host, signed.host.geodrop
    with daemon(geodrop):
        signed.compile("RU")
        geodrop.good("reload")
        signed.keys.revoke("alice")
        assert "is revoked by" in geodrop.run("reload").err
        geodrop.good("rollback")
        assert host.drops("1.0.0.1")
        repaired = geodrop.run("status", "--json").json["repaired"]
        host.netns.run("nft", "delete", "table", "inet", "geodrop")
        until(lambda: geodrop.run("status", "--json").json["repaired"] > repaired and host.drops("1.0.0.1"))
    signed.keys.allowed.unlink()
    host.netns.run("nft", "delete", "table", "inet", "geodrop")
    geodrop.good("load", "--boot")
    assert host.drops("1.0.0.1")
    host.netns.run("nft", "delete", "table", "inet", "geodrop")
    with daemon(geodrop):
        assert host.drops("1.0.0.1")


def test_on_trial(signed: SignedHost) -> None:
    """A signed ruleset may wait to be confirmed; going back and confirming need no signature."""
    geodrop, host = signed.host.geodrop, signed.host
    with daemon(geodrop):
        signed.compile("RU")
        geodrop.good("reload", "--confirm-within", "1h")
        signed.keys.revoke("alice")
        geodrop.good("rollback")
        assert host.drops("1.0.0.1")
        signed.keys.revoke("gone")
        geodrop.good("reload", "--confirm-within", "1h")
        signed.keys.revoke("alice")
        geodrop.good("confirm")
        assert host.drops("2.0.0.1")


def test_turned_on_beside_an_unsigned_ruleset(signed: SignedHost) -> None:
    """What is in force stays, by a repair and a boot too. What came before it, and every new one, must be signed."""
    host, geodrop = signed.host, signed.host.geodrop
    host.agent()
    with daemon(geodrop):
        host.deny("RU")
        geodrop.good("reload")
        signed.agent()
        Path(f"{signed.fleet}.sig").unlink()
        assert geodrop.run("reload").code == 65
        assert host.drops("2.0.0.1")
    with daemon(geodrop) as running:
        assert "not signed, and `keys`" in running.said[-1]
        host.netns.run("nft", "delete", "table", "inet", "geodrop")
        until(lambda: host.table() and host.drops("2.0.0.1"))
        unsigned = {"accepted": "before", "principal": None, "key": None, "compiled": None}
        assert geodrop.run("status", "--json").json["signature"] == unsigned
        assert "in force before signatures were demanded" in geodrop.run("status").out
        done = geodrop.run("rollback")
        assert (done.code, host.drops("2.0.0.1")) == (65, True)
        assert "was never accepted on this host, which demands signatures" in done.err
    host.netns.run("nft", "delete", "table", "inet", "geodrop")
    geodrop.good("load", "--boot")
    assert host.drops("2.0.0.1")
    signed.keys.sign(signed.fleet, "alice")
    with daemon(geodrop):
        assert host.drops("1.0.0.1")
        geodrop.good("rollback")
        assert host.drops("2.0.0.1")


def test_who_signed_is_told(signed: SignedHost) -> None:
    """`status`, `history`, `check` and `doctor` name the signer, in text and as JSON."""
    geodrop, key = signed.host.geodrop, signed.keys.fingerprint("alice")
    with daemon(geodrop):
        signature = geodrop.good("status", "--json").json["signature"]
        assert (signature["principal"], signature["key"]) == ("alice@example.com", key)
        assert f"by alice@example.com, key {key}, compiled {signature['compiled']}" in geodrop.good("status").out
        [entry, *_] = geodrop.good("history", "--json").json_lines
        assert (entry["signed_by"], entry["signed_key"]) == ("alice@example.com", key)
        assert f"signed by alice@example.com ({key})" in geodrop.good("history").out
        assert f"signed by alice@example.com ({key})" in geodrop.good("check").out
        assert geodrop.good("check", "--json").json["signature"] == {"principal": "alice@example.com", "key": key}
        found = {one["name"]: one for one in geodrop.good("doctor", "--json").json["findings"]}
        assert found["keys"]["status"] == "ok"
        assert "alice@example.com" in found["keys"]["found"]


def test_without_ssh_keygen(signed: SignedHost) -> None:
    """Nothing new gets in, and the message names the package; what was accepted goes on."""
    host = signed.host
    host.geodrop.good("load", str(signed.fleet))
    before = host.table()
    lacking = Geodrop(host.folder, host.netns, NO_SSH_KEYGEN)
    done = lacking.run("load", str(signed.fleet))
    assert (done.code, host.table()) == (69, before)
    assert "apt-get install openssh-client" in done.err
    host.netns.run("nft", "delete", "table", "inet", "geodrop")
    lacking.good("load", "--boot")
    assert host.drops("1.0.0.1")


def test_a_host_that_demands_signatures_compiles_nothing(signed: SignedHost) -> None:
    """`source.policy` beside `keys` is an error of agent.yaml, and a running daemon keeps what is in force."""
    host, geodrop = signed.host, signed.host.geodrop
    with daemon(geodrop):
        before = host.table()
        host.agent(more=f"keys: {signed.keys.allowed}\n")
        for command in (("reload",), ("check",)):
            done = geodrop.run(*command)
            assert (done.code, host.table()) == (78, before)
            assert "with `keys` every ruleset has to be signed" in done.err


def smuggle(signed: SignedHost) -> str:
    """Write a ruleset that denies nobody into the state directory, and ask for it, as a writer of that folder could."""
    evil, store = signed.host.folder / "evil.ruleset", Store(signed.host.folder / "state")
    signed.compile(key="eve", output=evil)
    ruleset = Ruleset.open(evil)
    store.keep(ruleset.file)
    store.remember(replace(store.intent(), digest=ruleset.digest, last_good=ruleset.digest))
    return ruleset.digest


def test_what_lies_in_the_state_directory_alone(signed: SignedHost) -> None:
    """A boot, a daemon's start and a repair leave out what never entered with a signature, and say so.

    A boot and a start take the newest ruleset before it that was accepted.
    """
    host, geodrop = signed.host, signed.host.geodrop
    geodrop.good("load", str(signed.fleet))
    stripped(signed)
    said = f"ruleset {smuggle(signed)[:12]} is left out: this host demands signatures, and never accepted it"
    host.netns.run("nft", "delete", "table", "inet", "geodrop")
    assert said in geodrop.good("load", "--boot").err
    assert host.drops("1.0.0.1")
    smuggle(signed)
    host.netns.run("nft", "delete", "table", "inet", "geodrop")
    with daemon(geodrop) as running:
        assert said in running.log
        assert host.drops("1.0.0.1")
        evil = smuggle(signed)
        host.netns.run("nft", "delete", "table", "inet", "geodrop")
        until(lambda: f"ruleset {evil[:12]} was never accepted on this host" in running.log)
        assert not host.table()


@pytest.mark.parametrize("first_boot", ["open", "closed"])
def test_a_new_host(signed: SignedHost, first_boot: str) -> None:
    """Where nothing was ever accepted, `first_boot` decides, until a signed ruleset comes."""
    signed.agent(f"first_boot: {first_boot}\n")
    stripped(signed)
    with daemon(signed.host.geodrop) as running:
        assert "not signed, and `keys`" in running.said[-1]
        assert bool(signed.host.table()) == (first_boot == "closed")
        told = "signed      no: it is what `first_boot: closed` loads" in signed.host.geodrop.run("status").out
        assert told == (first_boot == "closed")
        signed.keys.sign(signed.fleet, "alice")
        signed.host.geodrop.good("reload")
        assert signed.host.drops("2.0.0.1")
