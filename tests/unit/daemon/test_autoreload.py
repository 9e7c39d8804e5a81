from pathlib import Path
from unittest.mock import AsyncMock

import pytest

from geodrop.config import Config, Source
from geodrop.daemon.autoreload import Autoreload, look
from tests.support.daemons import daemon_context


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a configuration with a policy and a database."""
    names = ("policy.yaml", "country.mmdb")
    for name in names:
        (tmp_path / name).write_text(name)
    policy, database = (str(tmp_path / name) for name in names)
    return Config(source=Source(policy, (database,)), state=tmp_path / "state", watch=True)


@pytest.fixture
def files(config: Config) -> Autoreload:
    """Return the task that watches them."""
    return Autoreload(daemon_context(config), AsyncMock())


def changed(files: Autoreload, config: Config) -> list[str]:
    """Return the names of the files that one look finds changed."""
    return [Path(name).name for name in files.changed(look(config))]


def test_a_change_counts_once_it_has_settled(files: Autoreload, config: Config, tmp_path: Path) -> None:
    """A change counts once, and not while the file is being written."""
    assert [changed(files, config) for _ in range(3)] == [[], [], []]
    for content in ("a", "ab", "abc"):
        (tmp_path / "country.mmdb").write_text(content)
        assert changed(files, config) == []
    assert changed(files, config) == ["country.mmdb"]
    assert changed(files, config) == []


def test_a_file_that_is_replaced(files: Autoreload, config: Config, tmp_path: Path) -> None:
    """A file replaced by one of the same size and age is a change all the same."""
    for _ in range(2):
        changed(files, config)
    (tmp_path / "new").write_text("policy.yaml")
    (tmp_path / "new").rename(tmp_path / "policy.yaml")
    assert [changed(files, config) for _ in range(2)] == [[], ["policy.yaml"]]


def test_incomplete(files: Autoreload, config: Config, tmp_path: Path) -> None:
    """While a file is missing nothing is reloaded; its return is a change."""
    for _ in range(2):
        changed(files, config)
    (tmp_path / "policy.yaml").unlink()
    assert [changed(files, config) for _ in range(3)] == [[], [], []]
    (tmp_path / "policy.yaml").write_text("policy.yaml")
    assert [changed(files, config) for _ in range(2)] == [[], ["policy.yaml"]]


def test_without_a_source() -> None:
    """Without a source no file is watched."""
    assert look(Config()) == {}
