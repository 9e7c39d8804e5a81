# SPDX-License-Identifier: Apache-2.0
"""What may come in force on a host that demands signatures, on each way there: by hand, by a reload, from the state."""

import time
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.config import Config, load_config_or_assume
from geodrop.engine.api import Difference, Observed
from geodrop.errors import ApplyError, ConfigError, DataError, GeodropError
from geodrop.operations import admission
from geodrop.operations.boot import boot
from geodrop.operations.change import by_me, finish_undo
from geodrop.operations.load import apply_file, load
from geodrop.operations.pause import pause, resume
from geodrop.operations.rollback import roll_back
from geodrop.ruleset import container
from geodrop.ruleset.model import Ruleset
from geodrop.state.accepted import Acceptance, AcceptedRulesets
from geodrop.state.entry import FAILED, ChangeRequest
from geodrop.state.store import Store
from tests.support.signing import SigningKeys, write_ruleset
from tests.unit.operations.conftest import Kernel

NOW = int(time.time())
BOOT = ChangeRequest("boot", 0)


@pytest.fixture
def keys(tmp_path: Path) -> SigningKeys:
    """Return keys of which alice's is trusted."""
    made = SigningKeys(tmp_path / "keys")
    made.trust("alice")
    return made


@pytest.fixture
def demanding(config: Config, keys: SigningKeys) -> Config:
    """Return a configuration that demands signatures."""
    return replace(config, keys=str(keys.allowed))


@pytest.fixture
def files(tmp_path: Path, keys: SigningKeys) -> list[Path]:
    """Return three signed files, each compiled a minute after the one before."""
    made = []
    for number in range(3):
        made.append(tmp_path / f"signed-{number}.ruleset")
        write_ruleset(made[-1], NOW - 600 + 60 * number, what=str(number))
        keys.sign(made[-1], "alice")
    return made


def digest(path: Path) -> str:
    """Return the digest of a ruleset's file."""
    return Ruleset.open(path).digest


def put(path: Path, config: Config, seconds: int = 0) -> None:
    """Load a file by hand."""
    load(str(path), config, "auto", ["eth0"], by_me("load", confirm_within=seconds))


def test_signed(kernel: Kernel, files: list[Path], demanding: Config, keys: SigningKeys) -> None:
    """A signed ruleset comes in force; who signed it is kept with its digest, and in the history."""
    put(files[0], demanding)
    assert kernel.now.digest == digest(files[0])
    store = Store(demanding.state)
    found = store.accepted.read()
    assert found is not None
    assert found.newest == NOW - 600
    entry = store.history.entries()[-1]
    assert (entry.signed_by, entry.signed_key) == ("alice@example.com", keys.fingerprint("alice"))
    assert entry.compiled == NOW - 600
    assert admission.accepted_as(store, digest(files[0])) == found.rulesets[digest(files[0])]


@pytest.mark.parametrize("what", ["stripped", "of other bytes", "without a date", "of tomorrow"])
def test_refused(kernel: Kernel, files: list[Path], demanding: Config, keys: SigningKeys, what: str) -> None:
    """What may not enter changes nothing but the history, which has the reason."""
    put(files[0], demanding)
    before, path = kernel.now, files[1]
    accepted = Store(demanding.state).accepted.read()
    if what == "stripped":
        Path(f"{path}.sig").unlink()
    else:
        moment = {"of other bytes": NOW, "without a date": None, "of tomorrow": NOW + 90_000}[what]
        write_ruleset(path, moment, what="evil")
    if what in {"without a date", "of tomorrow"}:
        keys.sign(path, "alice")
    with pytest.raises(DataError) as caught:
        put(path, demanding)
    assert caught.value.next_step
    assert kernel.now == before
    assert Store(demanding.state).accepted.read() == accepted
    last = Store(demanding.state).history.entries()[-1]
    assert (last.outcome, last.error) == (FAILED, str(caught.value))


def test_a_ruleset_that_was_already_read_needs_its_check(kernel: Kernel, files: list[Path], demanding: Config) -> None:
    """A caller that forgot to check, or checked another ruleset, puts nothing in force."""
    signed = admission.check_file(str(files[0]), Ruleset.open(files[0]), demanding, Store(demanding.state))
    for wrong in (None, signed):
        with pytest.raises(DataError, match="never accepted"):
            apply_file(Ruleset.open(files[1]), demanding, "auto", ["eth0"], by_me("reload"), signed=wrong)
    assert kernel.now == Observed()
    apply_file(Ruleset.open(files[0]), demanding, "auto", ["eth0"], by_me("reload"), signed=signed)
    assert kernel.now.digest == digest(files[0])


def test_replayed(kernel: Kernel, files: list[Path], demanding: Config) -> None:
    """A signed ruleset that is older than the newest one accepted is refused, though it was in force once.

    What is in force may be loaded again, and a rollback is a decision of a person.
    """
    for path in files[:2]:
        put(path, demanding)
    with pytest.raises(DataError, match=r"is an old one again.*geodrop rollback.*geodrop compile --sign KEY"):
        put(files[0], demanding)
    with pytest.raises(DataError, match="is an old one again"):
        admission.check_file(str(files[0]), Ruleset.open(files[0]), demanding, Store(demanding.state))
    assert kernel.now.digest == digest(files[1])
    roll_back(demanding, by_me("rollback"))
    assert kernel.now.digest == digest(files[0])
    put(files[0], demanding)
    put(files[1], demanding)
    put(files[2], demanding)
    assert kernel.now.digest == digest(files[2])


def test_a_newer_one_came_meanwhile(kernel: Kernel, files: list[Path], demanding: Config) -> None:
    """The compile time is compared again right before the load: a reload may have been checked long before."""
    ruleset = Ruleset.open(files[0])
    signed = admission.check_file(str(files[0]), ruleset, demanding, Store(demanding.state))
    put(files[1], demanding)
    with pytest.raises(DataError, match="is an old one again"):
        apply_file(ruleset, demanding, "auto", ["eth0"], by_me("reload"), signed=signed)
    assert kernel.now.digest == digest(files[1])


def test_a_delta_file(kernel: Kernel, tmp_path: Path, files: list[Path], demanding: Config, keys: SigningKeys) -> None:
    """A signature of a delta file does not cover its base, so it does not count."""
    base = container.open_file(files[0])
    (tmp_path / f"{base.digest}.ruleset").write_bytes(files[0].read_bytes())
    meta = dict(base.meta) | {"policy": "delta", "compiled": NOW}  # type: ignore[call-overload]
    path = tmp_path / "delta.ruleset"
    path.write_bytes(container.pack(meta, base.sections, base))
    assert container.open_file(path).base is not None
    keys.sign(path, "alice")
    with pytest.raises(DataError, match=r"a delta file.*sign a whole file"):
        put(path, demanding)
    assert kernel.now == Observed()


def test_a_boot_a_rollback_and_a_repair_need_no_key(
    kernel: Kernel, files: list[Path], demanding: Config, keys: SigningKeys
) -> None:
    """What was accepted stays so when its key has expired, is revoked, or the file of keys is gone."""
    for path in files[:2]:
        put(path, demanding)
    keys.allowed.unlink()
    kernel.now = Observed()
    assert boot(demanding, BOOT, NOW).warnings == ()
    assert kernel.now.digest == digest(files[1])
    roll_back(demanding, by_me("rollback"))
    assert kernel.now.digest == digest(files[0])
    kernel.differences = [Difference("chain g1", "3 rules", "2 rules")]
    pause(demanding, by_me("pause"), NOW + 600)
    resume(demanding, by_me("resume"))
    assert kernel.now.digest == digest(files[0])
    with pytest.raises(ConfigError, match="allowed_signers: No such file"):
        put(files[2], demanding)


def smuggle(config: Config, path: Path, what: str = "evil") -> str:
    """Write a ruleset into the state directory, and ask for it in the intent, as a writer of that folder could."""
    ruleset, store = write_ruleset(path, NOW, what=what), Store(config.state)
    store.keep(ruleset.file)
    store.remember(replace(store.intent(), digest=ruleset.digest, last_good=ruleset.digest))
    return ruleset.digest


def test_what_lies_in_the_state_directory_alone(
    kernel: Kernel, tmp_path: Path, files: list[Path], demanding: Config
) -> None:
    """A ruleset that never entered with a signature is not booted, nor put in force by a repair or the daemon's start.

    A boot takes the newest one before it that was accepted, and says what it left out.
    """
    put(files[0], demanding)
    evil = smuggle(demanding, tmp_path / "evil.ruleset")
    store = Store(demanding.state)
    kernel.now = Observed()
    for origin in ("repair", "rollback", "pause"):
        with pytest.raises(DataError, match=f"ruleset {evil[:12]} was never accepted on this host"):
            apply_file(store.ruleset(evil), demanding, "auto", ["eth0"], by_me(origin))
    assert kernel.now == Observed()
    booted = boot(demanding, BOOT, NOW)
    assert booted.warnings == (f"ruleset {evil[:12]} is left out: this host demands signatures, and never accepted it",)
    assert kernel.now.digest == digest(files[0])


def test_an_undo(kernel: Kernel, files: list[Path], demanding: Config) -> None:
    """A load on trial is accepted like any other. What the kernel went back to needs no signature any more."""
    put(files[0], demanding)
    put(files[1], demanding, 60)
    finish_undo(demanding, now=True)
    assert Store(demanding.state).intent().digest == digest(files[0])
    kernel.now = Observed()
    assert boot(demanding, BOOT, NOW).warnings == ()
    assert kernel.now.digest == digest(files[0])


def test_turned_on_beside_an_unsigned_ruleset(
    kernel: Kernel, rulesets: list[Path], files: list[Path], config: Config, demanding: Config
) -> None:
    """What is in force stays, through a boot and a pause. What was before it is refused, like every new one."""
    for path in rulesets[:2]:
        put(path, config)
    kernel.now = Observed()
    assert boot(demanding, BOOT, NOW).warnings == ()
    assert kernel.now.digest == digest(rulesets[1])
    pause(demanding, by_me("pause"), NOW + 600)
    resume(demanding, by_me("resume"))
    for attempt in (lambda: put(rulesets[2], demanding), lambda: roll_back(demanding, by_me("rollback"))):
        with pytest.raises(GeodropError) as caught:
            attempt()
        assert caught.value.exit_code == 65
    assert kernel.now.digest == digest(rulesets[1])
    put(files[0], demanding)
    roll_back(demanding, by_me("rollback"))
    assert kernel.now.digest == digest(rulesets[1])


def test_turned_off_and_on_again(
    kernel: Kernel, rulesets: list[Path], files: list[Path], config: Config, demanding: Config
) -> None:
    """A host that demanded none meanwhile begins again: what is in force then counts, and what came before does not."""
    put(files[2], demanding)
    put(rulesets[0], config)
    assert Store(config.state).accepted.read() is None
    kernel.now = Observed()
    boot(demanding, BOOT, NOW)
    assert kernel.now.digest == digest(rulesets[0])
    put(files[0], demanding)
    assert kernel.now.digest == digest(files[0])


def test_what_the_kernel_holds_stays(kernel: Kernel, rulesets: list[Path], config: Config, demanding: Config) -> None:
    """Only a privileged process can have put it there: it may be paused, though the host knows nothing of it."""
    put(rulesets[0], config)
    Store(config.state).accepted.write(AcceptedRulesets())
    pause(demanding, by_me("pause"), NOW + 600)
    assert kernel.now.digest == digest(rulesets[0])


def test_a_damaged_file(kernel: Kernel, files: list[Path], demanding: Config) -> None:
    """The history knows what was signed: a boot goes on, and an old ruleset is still old."""
    for path in files[:2]:
        put(path, demanding)
    (demanding.state / "accepted.json").write_text("nonsense")
    kernel.now = Observed()
    [warning] = boot(demanding, BOOT, NOW).warnings
    assert "accepted.json: damaged" in warning
    assert kernel.now.digest == digest(files[1])
    with pytest.raises(DataError, match="is an old one again"):
        put(files[0], demanding)
    [problem] = Store(demanding.state).problems()
    assert "accepted.json: damaged" in problem
    put(files[1], demanding)
    assert Store(demanding.state).problems() == []
    put(files[2], demanding)
    found = Store(demanding.state).accepted.read()
    assert found is not None
    assert {digest(path) for path in files} == found.rulesets.keys()


def test_a_damaged_file_beside_an_unsigned_ruleset(
    kernel: Kernel, rulesets: list[Path], files: list[Path], config: Config, demanding: Config
) -> None:
    """What was in force when signatures were first demanded, and is again after a rollback, still boots."""
    put(rulesets[0], config)
    put(files[0], demanding)
    roll_back(demanding, by_me("rollback"))
    assert kernel.now.digest == digest(rulesets[0])
    (demanding.state / "accepted.json").write_text("nonsense")
    kernel.now = Observed()
    [warning] = boot(demanding, BOOT, NOW).warnings
    assert "accepted.json: damaged" in warning
    assert kernel.now.digest == digest(rulesets[0])


def test_without_agent_yaml(
    kernel: Kernel, rulesets: list[Path], files: list[Path], config: Config, demanding: Config
) -> None:
    """While agent.yaml is damaged, signatures are demanded as before: no rollback leads past them, and boots go on."""
    for path in rulesets[:2]:
        put(path, config)
    put(files[0], demanding)
    broken = config.state.parent / "agent.yaml"
    broken.write_text(f"state: {config.state}\nengine: ebpf\n")
    assumed, doubt = load_config_or_assume(str(broken))
    assert doubt
    kernel.now = Observed()
    boot(assumed, BOOT, NOW)
    assert kernel.now.digest == digest(files[0])
    roll_back(assumed, by_me("rollback"))
    assert kernel.now.digest == digest(rulesets[1])
    with pytest.raises(DataError, match=r"which demands signatures \(.*accepted.json\)"):
        roll_back(assumed, by_me("rollback"))
    pause(assumed, by_me("pause"), NOW + 600)
    assert kernel.now.digest == digest(rulesets[1])


def test_it_is_accepted_before_the_kernel_has_it(kernel: Kernel, files: list[Path], demanding: Config) -> None:
    """A crash at the switch leaves a kernel that holds what was accepted, whatever else was not written yet."""
    put(files[0], demanding)
    kernel.failure = ApplyError("the kernel refused")
    with pytest.raises(ApplyError):
        put(files[1], demanding)
    store = Store(demanding.state)
    assert admission.is_accepted(demanding, store, Observed(), digest(files[1]))
    assert store.history.entries()[-1].outcome == FAILED


def test_it_cannot_be_written(
    kernel: Kernel, files: list[Path], demanding: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What the host could not remember as accepted does not come in force."""

    def fail(*_: object) -> None:
        raise ApplyError("accepted.json: No space left on device")

    monkeypatch.setattr("geodrop.state.accepted.Accepted.write", fail)
    with pytest.raises(ApplyError, match="No space left"):
        put(files[0], demanding)
    assert kernel.now == Observed()


def test_what_is_accepted_already_needs_no_disk(
    kernel: Kernel, files: list[Path], demanding: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a disk that takes nothing, what was loaded before can be loaded again."""
    put(files[0], demanding)
    monkeypatch.setattr("geodrop.state.accepted.Accepted.write", lambda *_: pytest.fail("it writes"))
    kernel.now = Observed()
    put(files[0], demanding)
    assert kernel.now.digest == digest(files[0])


def test_signed_again_by_another_key(kernel: Kernel, files: list[Path], demanding: Config, keys: SigningKeys) -> None:
    """While keys are changed, the host knows which one it would need to accept its ruleset once more."""
    put(files[0], demanding)
    keys.trust("alice", "bob")
    keys.sign(files[0], "bob")
    put(files[0], demanding)
    assert kernel.now.generation == 1
    found = admission.accepted_as(Store(demanding.state), kernel.now.digest)
    assert found is not None
    assert found.signer == f"bob@example.com ({keys.fingerprint('bob')})"


def test_only_kept_rulesets_are_remembered(files: list[Path], kernel: Kernel, demanding: Config) -> None:
    """The file does not grow for ever; the newest compile time stays."""
    for path in files[:2]:
        put(path, demanding)
    store = Store(demanding.state)
    store.ruleset_path(digest(files[0])).unlink()
    store.accepted.write(
        AcceptedRulesets(NOW - 300, {digest(files[0]): Acceptance(1), digest(files[1]): Acceptance(1)})
    )
    write_ruleset(files[2], NOW - 200)
    SigningKeys(files[2].parent / "keys").sign(files[2], "alice")
    put(files[2], demanding)
    found = store.accepted.read()
    assert found is not None
    assert found.newest == NOW - 200
    assert set(found.rulesets) == {digest(files[1]), kernel.now.digest}


def test_first_boot(kernel: Kernel, demanding: Config) -> None:
    """What `first_boot: closed` puts in force comes with geodrop, and may be loaded again by a daemon."""
    closed = replace(demanding, first_boot="closed")
    boot(closed, BOOT, NOW)
    there = kernel.now.digest
    assert there
    kernel.now = Observed()
    apply_file(Store(closed.state).ruleset(there), closed, "auto", ["eth0"], by_me("repair"))
    assert kernel.now.digest == there


def test_nothing_is_demanded(kernel: Kernel, rulesets: list[Path], config: Config) -> None:
    """Without `keys` nothing is checked or written."""
    ruleset = Ruleset.open(rulesets[0])
    assert admission.check_file(str(rulesets[0]), ruleset, config, Store(config.state)) is None
    put(rulesets[0], config)
    assert kernel.now.digest == ruleset.digest
    assert not (config.state / "accepted.json").exists()
