from collections.abc import Sequence
from pathlib import Path

import pytest

from geodrop.config import Config
from geodrop.dataplane import load as module
from geodrop.dataplane.engine import Difference, Interface, Observed, Report
from geodrop.dataplane.engines import Engines
from geodrop.dataplane.interfaces import Selection
from geodrop.errors import ApplyError, ConfigError, DataError
from geodrop.ruleset.model import Ruleset
from geodrop.state.store import Intent, Store
from tests.unit.ruleset.test_model import META, pack


class Kernel:
    """An engine whose kernel is a variable."""

    name = "fake"

    def __init__(self) -> None:
        self.now = Observed()
        self.differences: list[Difference] = []
        self.failure: Exception | None = None

    def observe(self) -> Observed:
        """What was applied last."""
        return self.now

    def verify(self, ruleset: Ruleset, *, full: bool = True) -> list[Difference]:
        """What the test says."""
        del ruleset, full
        return self.differences

    def apply(self, ruleset: Ruleset, generation: int, interfaces: Sequence[str]) -> Report:
        """Take it, or fail as the test says."""
        if self.failure:
            raise self.failure
        self.now = Observed(generation, ruleset.digest, tuple(Interface(name, self.name) for name in interfaces))
        return Report(generation)

    def remove(self) -> bool:
        """Forget it."""
        there, self.now = self.now.generation > 0, Observed()
        return there


@pytest.fixture
def kernel(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Kernel:
    """The fake engine in place of the real one, with a lock of its own."""
    fake = Kernel()
    monkeypatch.setattr(Engines, "here", lambda _="": fake)
    monkeypatch.setattr(module, "arrange", lambda _, ruleset, number, to, __: fake.apply(ruleset, number, to.names))
    monkeypatch.setattr(module, "select", lambda wanted: Selection(tuple(wanted)))
    monkeypatch.setattr("geodrop.state.lock.lock_file", lambda: tmp_path / "lock")
    return fake


@pytest.fixture
def ruleset(tmp_path: Path) -> Path:
    """A ruleset file."""
    path = tmp_path / "a.ruleset"
    path.write_bytes(pack(META))
    return path


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """With a state directory of its own."""
    return Config(state=tmp_path / "state")


def test_load_keeps_the_ruleset_and_the_intent(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """What is in force is found again by the digest that the kernel carries."""
    loaded = module.load(str(ruleset), config, "auto", ["eth0"])
    assert (loaded.before.generation, loaded.after.generation) == (0, 1)
    assert Store(config.state).intent() == Intent(1, kernel.now.digest)
    kept = module.loaded_ruleset(config, kernel.now)
    assert kept is not None
    assert kept.digest == kernel.now.digest


def test_failed_load_spends_the_number_and_nothing_else(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """After a failure the old digest is still what was asked for, and the failed number is never used again."""
    kernel.failure = ApplyError("no")
    with pytest.raises(ApplyError):
        module.load(str(ruleset), config, "auto", ["eth0"])
    assert Store(config.state).intent() == Intent(1, "")
    kernel.failure = None
    assert module.load(str(ruleset), config, "auto", ["eth0"]).after.generation == 2


def test_number_grows_past_what_the_kernel_has(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """A state directory that was lost does not bring numbers back."""
    kernel.now = Observed(41, "other", (Interface("eth0", "fake"),))
    assert module.load(str(ruleset), config, "auto", ["eth0"]).after.generation == 42


def test_same_ruleset_is_loaded_again_only_where_the_kernel_differs(
    kernel: Kernel, ruleset: Path, config: Config
) -> None:
    """In force already means nothing to do, unless it was damaged."""
    module.load(str(ruleset), config, "auto", ["eth0"])
    assert module.load(str(ruleset), config, "auto", ["eth0"]).report is None
    kernel.differences = [Difference("chain g1", "3 rules", "2 rules")]
    assert module.load(str(ruleset), config, "auto", ["eth0"]).after.generation == 2


def test_unload_is_remembered_and_load_forgets_it(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """`unload` stays in the intent until the next load; the generation number stays too."""
    module.load(str(ruleset), config, "auto", ["eth0"])
    assert module.unload(config)
    assert Store(config.state).intent() == Intent(1, Ruleset.open(ruleset).digest, unloaded=True)
    assert not module.unload(config)
    module.load(str(ruleset), config, "auto", ["eth0"])
    assert not Store(config.state).intent().unloaded
    assert kernel.now.generation == 2


def test_nothing_is_touched_for_bad_arguments(kernel: Kernel, ruleset: Path, config: Config) -> None:
    """A bad file or no interface is found before anything is written."""
    with pytest.raises(ConfigError, match="no interface"):
        module.load(str(ruleset), config, "auto", [])
    ruleset.write_bytes(b"nonsense")
    with pytest.raises(DataError):
        module.load(str(ruleset), config, "auto", ["eth0"])
    assert kernel.now == Observed()
    assert not config.state.exists()
