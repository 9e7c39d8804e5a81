import fcntl
import os
from pathlib import Path

import pytest

from geodrop.compile.sandbox import Child
from geodrop.config import Config, Source
from geodrop.daemon import source as module
from geodrop.daemon.source import SEALS, Maker, source_of
from geodrop.errors import ConfigError, DataError, PolicyError, UnavailableError
from geodrop.ruleset.model import Ruleset
from geodrop.state.store import Intent, Store
from tests.databases import country, write_database

POLICY = "version: 1\nservices:\n  api: {default: allow, unknown: allow, deny: [CN]}\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """A policy that denies China, and a database."""
    write_database(tmp_path / "d.mmdb", {"1.0.0.0/24": country("CN"), "2.0.0.0/24": country("RU")})
    (tmp_path / "p.yaml").write_text(POLICY)
    source = Source(str(tmp_path / "p.yaml"), (str(tmp_path / "d.mmdb"),))
    return Config(source=source, engine="nftables", state=tmp_path / "state")


@pytest.fixture
def maker() -> Maker:
    """One whose children end with the test."""
    return Maker()


def test_made_and_sealed(config: Config, maker: Maker) -> None:
    """The file is a ruleset, can no longer be written by anybody, and is gone afterwards."""
    before = len(os.listdir("/proc/self/fd"))
    with maker.ruleset_file(config) as made:
        assert Ruleset.open(made.path).meta.services[0].name == "api"
        with open(made.path, "r+b") as file:
            assert fcntl.fcntl(file, fcntl.F_GET_SEALS) == SEALS
            with pytest.raises(PermissionError):
                file.truncate(0)
    assert len(os.listdir("/proc/self/fd")) == before


def test_what_it_changes(config: Config, maker: Maker, tmp_path: Path) -> None:
    """Against the ruleset that was asked for last, for a policy and for a prebuilt file alike."""
    store = Store(config.state)
    with maker.ruleset_file(config) as made:
        assert made.change is None
        first = Ruleset.open(made.path).digest
        store.keep(Path(made.path), first)
    store.remember(Intent(1, first))
    (tmp_path / "p.yaml").write_text(POLICY.replace("[CN]", "[CN, RU]"))
    prebuilt = tmp_path / "fleet.ruleset"
    with maker.ruleset_file(config) as made:
        assert made.change
        assert made.change["text"] == "1 region moved to drop, +1 -0 prefixes"
        prebuilt.write_bytes(Path(made.path).read_bytes())
        text = made.change["text"]
    with maker.ruleset_file(Config(source=Source(ruleset=str(prebuilt)), state=config.state)) as made:
        assert made.change
        assert (made.path, made.change["text"]) == (str(prebuilt), text)


def test_a_prebuilt_file_needs_no_compiler(tmp_path: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where it is damaged, or no child can be started: whether it is good is seen when it is loaded."""

    def fail() -> None:
        raise UnavailableError("no child")

    monkeypatch.setattr(module, "_start", fail)
    config = Config(source=Source(ruleset=str(tmp_path / "none")), state=tmp_path)
    with maker.ruleset_file(config) as made:
        assert made == (str(tmp_path / "none"), "", None)


def test_failures_keep_code_and_lines(config: Config, maker: Maker, tmp_path: Path) -> None:
    """A policy that is wrong is 78 with the compiler's own lines, a database 65."""
    (tmp_path / "p.yaml").write_text(POLICY.replace("CN", "QQ"))
    with pytest.raises(ConfigError, match=r"p.yaml:3:.*QQ") as caught, maker.ruleset_file(config):
        pytest.fail("made of nothing")
    assert caught.value.exit_code == PolicyError.exit_code
    assert caught.value.printed.count("\n") >= 2
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "d.mmdb").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"d\.mmdb"), maker.ruleset_file(config):
        pytest.fail("made of nothing")


def waiting(maker: Maker) -> Child | None:
    """The child that it has ready."""
    return maker._waiting


def test_a_child_waits(config: Config, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """It serves the next request, and no second one; one that died meanwhile is replaced."""
    maker.wait(config)
    first = waiting(maker)
    assert first
    maker.wait(config)
    assert waiting(maker) is first
    with maker.ruleset_file(config):
        assert waiting(maker) is None
    maker.wait(config)
    second = waiting(maker)
    assert second
    second.close()
    with maker.ruleset_file(config) as made:
        assert Ruleset.open(made.path).digest
    maker.wait(config)
    maker.close()
    monkeypatch.setattr(module, "compile_socket", lambda: Path("/"))
    maker.wait(config)
    with pytest.raises(UnavailableError, match=r"geodrop-compile\.socket"), maker.ruleset_file(config):
        pytest.fail("made by a child with our privileges")


def test_no_source() -> None:
    """Only what needs one asks for it."""
    with pytest.raises(ConfigError, match="source"):
        source_of(Config())
