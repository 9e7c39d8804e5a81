# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.errors import DataError, NotEnforcingError
from geodrop.operations.load import apply_file, load, remove_all
from geodrop.operations.outcome import Outcome
from geodrop.operations.rollback import roll_back, steps_back, with_generation
from geodrop.ruleset.model import Ruleset
from geodrop.state.entry import DONE, FAILED, ChangeRequest, Entry
from geodrop.state.keep import Keep
from geodrop.state.store import Store
from tests.unit.operations.conftest import Kernel

ASKED = ChangeRequest("rollback", 1000, why="it broke checkout")


@pytest.fixture
def loaded(kernel: Kernel, rulesets: list[Path], config: Config) -> list[str]:
    """Load three policies, one after the other; return their digests."""
    del kernel
    for path in rulesets[:3]:
        load(str(path), config, "auto", ["eth0", "eth1"])
    return [Ruleset.open(path).digest for path in rulesets[:3]]


def back(config: Config, count: int = 1, generation: int | None = None) -> Outcome:
    """Roll back."""
    return roll_back(config, ASKED, count, generation)


def _kept(config: Config) -> set[str]:
    return {path.stem for path in Store(config.state).rulesets.glob("*.ruleset")}


def test_the_policy_before(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """The policy comes back as a new generation on the interfaces judged now, and the history records that."""
    done = back(config)
    assert (done.before.generation, done.after.generation) == (3, 4)
    assert f"back to ruleset {loaded[1][:12]} of generation 2 " in done.text
    assert kernel.now.digest == loaded[1]
    assert [interface.name for interface in kernel.now.interfaces] == ["eth0", "eth1"]
    intent = Store(config.state).intent()
    assert (intent.digest, intent.last_good, intent.rolled_back) == (loaded[1], loaded[1], True)
    entry = Store(config.state).history.entries()[-1]
    assert (entry.origin, entry.generation, entry.target, entry.uid, entry.why) == (
        "rollback",
        4,
        2,
        1000,
        "it broke checkout",
    )


def test_one_after_the_other_goes_further_back(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """Each rollback goes one policy further back, never forward; past the oldest, the error says how many there are."""
    back(config)
    back(config)
    assert kernel.now.digest == loaded[0]
    with pytest.raises(DataError, match="knows 0 policies before the one in force, not 1"):
        back(config)
    assert kernel.now.generation == 5
    assert Store(config.state).history.entries()[-1].outcome == FAILED


def test_what_the_next_one_goes_back_to_is_kept(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """Of the policies before it, whatever `keep` says; and after a load nothing but the one before it."""
    config = replace(config, keep=Keep(count=1))
    back(config)
    assert _kept(config) == set(loaded)  # the one that was just left as well
    back(config)
    assert kernel.now.digest == loaded[0]
    load(str(Store(config.state).ruleset_path(loaded[1])), config, "auto", ["eth0"])
    assert _kept(config) == {loaded[0], loaded[1]}


def test_several_at_once_and_by_generation(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """Several steps at once and a named generation reach the expected policy; a generation may also lie ahead."""
    back(config, 2)
    assert kernel.now.digest == loaded[0]
    back(config, generation=3)
    assert kernel.now.digest == loaded[2]
    assert back(config, generation=3).report is None
    with pytest.raises(DataError, match="generation 9 was never in force"):
        back(config, generation=9)


def test_the_next_load_takes_over(kernel: Kernel, loaded: list[str], rulesets: list[Path], config: Config) -> None:
    """An explicit load or reload ends the rollback, and is what the next rollback undoes."""
    back(config)
    apply_file(str(rulesets[3]), config, "auto", ["eth0"], ChangeRequest("reload", 0))
    assert not Store(config.state).intent().rolled_back
    back(config)
    assert kernel.now.digest == loaded[1]


def test_no_longer_kept(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """A policy that is no longer kept: 65, and nothing has changed."""
    Store(config.state).ruleset_path(loaded[1]).unlink()
    with pytest.raises(DataError, match=r"is not in .* any more"):
        back(config)
    assert kernel.now.generation == 3


def test_nothing_in_force(kernel: Kernel, loaded: list[str], config: Config) -> None:
    """After `unload` there is nothing to go back from: 3."""
    del kernel
    assert loaded
    remove_all(config, ChangeRequest("unload", 0))
    with pytest.raises(NotEnforcingError):
        back(config)


def test_without_the_history_of_what_is_in_force() -> None:
    """Without an entry for the policy in force, as after a boot fallback, the newest known policy is one step back."""
    entries = [Entry(1.0, "load", DONE, 0, 1, "a"), Entry(2.0, "load", DONE, 0, 2, "b")]
    assert steps_back(entries, "b", 1).digest == "a"
    assert steps_back(entries, "other", 1).digest == "b"
    with pytest.raises(DataError):
        steps_back([], "other", 1)


def test_a_failed_generation_was_never_in_force() -> None:
    """A failed load spends its number only; it is no target for a rollback."""
    with pytest.raises(DataError):
        with_generation([Entry(1.0, "load", FAILED, 0, 1, "a")], 1)
