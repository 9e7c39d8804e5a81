# SPDX-License-Identifier: Apache-2.0
import fcntl
import gc
import os
from pathlib import Path

import pytest

from geodrop.compile.sandbox import Child
from geodrop.config import Config, Source
from geodrop.daemon import source as module
from geodrop.daemon.source import Maker, descriptors, source_of
from geodrop.errors import ConfigError, DataError, PolicyError, UnavailableError
from geodrop.ruleset import container
from geodrop.ruleset.first_boot import build_closed, is_closed
from geodrop.ruleset.sealed import SEALS
from geodrop.state.intent import Intent
from geodrop.state.store import Store
from tests.support.databases import country, write_database
from tests.support.descriptors import left_open, open_descriptors

POLICY = "version: 1\nservices:\n  api: {default: allow, unknown: allow, deny: [CN]}\n"


@pytest.fixture
def config(tmp_path: Path) -> Config:
    """Return a policy that denies China, and a database."""
    write_database(tmp_path / "d.mmdb", {"1.0.0.0/24": country("CN"), "2.0.0.0/24": country("RU")})
    (tmp_path / "p.yaml").write_text(POLICY)
    source = Source(str(tmp_path / "p.yaml"), (str(tmp_path / "d.mmdb"),))
    return Config(source=source, engine="nftables", state=tmp_path / "state")


@pytest.fixture
def maker() -> Maker:
    """Return a maker whose children end with the test."""
    return Maker()


def test_made_and_sealed(config: Config, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """The result is a ruleset that no process can write any more and that vanishes with its last holder."""
    monkeypatch.setattr(container, "_opened", {})
    gc.collect()
    before = open_descriptors()
    made = maker.make(config)
    assert made.ruleset.meta.services[0].name == "api"
    [memory] = descriptors(made.ruleset.file)
    assert fcntl.fcntl(memory, fcntl.F_GET_SEALS) == SEALS
    with pytest.raises(PermissionError), open(f"/proc/self/fd/{memory}", "r+b") as file:
        file.truncate(0)
    del made
    assert not left_open(before)


def test_what_it_changes(config: Config, maker: Maker, tmp_path: Path) -> None:
    """A change is compared with the ruleset asked for last, for a policy and for a prebuilt file alike."""
    store = Store(config.state)
    first = maker.make(config)
    assert first.change is None
    store.keep(first.ruleset.file)
    store.remember(Intent(1, first.ruleset.digest))
    (tmp_path / "p.yaml").write_text(POLICY.replace("[CN]", "[CN, RU]"))
    second = maker.make(config)
    assert second.change
    assert second.change.as_text() == "api drops RU (<0.1% of IPv4), +1 -0 prefixes"
    prebuilt = tmp_path / "fleet.ruleset"
    with prebuilt.open("wb") as file:
        assert second.ruleset.file
        assert second.ruleset.file.memory
        second.ruleset.file.memory.write_to(file)
    third = maker.make(Config(source=Source(ruleset=str(prebuilt)), state=config.state))
    assert third.change
    assert (third.ruleset.digest, third.change) == (second.ruleset.digest, second.change)


def test_a_damaged_one_before_is_no_hindrance(config: Config, maker: Maker) -> None:
    """With a damaged previous ruleset the change is unknown, and a warning says so."""
    store = Store(config.state)
    store.remember(Intent(1, "d1"))
    store.keep_bytes(b"nonsense", "d1")
    made = maker.make(config)
    assert made.change is None
    assert "the change against the previous ruleset is unknown" in made.warnings


def test_a_prebuilt_file_needs_no_compiler(tmp_path: Path, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """If no child can be started, a prebuilt file is loaded all the same; only its change is unknown."""

    def fail() -> None:
        raise UnavailableError("no child")

    monkeypatch.setattr(module, "_start", fail)
    (tmp_path / "fleet.ruleset").write_bytes(build_closed())
    made = maker.make(Config(source=Source(ruleset=str(tmp_path / "fleet.ruleset")), state=tmp_path))
    assert is_closed(made.ruleset.meta.compiler)
    with pytest.raises(DataError, match="none: No such file"):
        maker.make(Config(source=Source(ruleset=str(tmp_path / "none")), state=tmp_path))


def test_failures_keep_code_and_lines(config: Config, maker: Maker, tmp_path: Path) -> None:
    """A wrong policy is 78 with the compiler's own lines, a bad database 65."""
    (tmp_path / "p.yaml").write_text(POLICY.replace("CN", "QQ"))
    with pytest.raises(ConfigError, match=r"p.yaml:3:.*QQ") as caught:
        maker.make(config)
    assert caught.value.exit_code == PolicyError.exit_code
    assert caught.value.printed.count("\n") >= 2
    (tmp_path / "p.yaml").write_text(POLICY)
    (tmp_path / "d.mmdb").write_bytes(b"nonsense")
    with pytest.raises(DataError, match=r"d\.mmdb"):
        maker.make(config)


def waiting(maker: Maker) -> Child | None:
    """Return the waiting child."""
    return maker._waiting


def test_a_child_waits(config: Config, maker: Maker, monkeypatch: pytest.MonkeyPatch) -> None:
    """A waiting child serves one request; one that died meanwhile is replaced."""
    maker.wait(config)
    first = waiting(maker)
    assert first
    maker.wait(config)
    assert waiting(maker) is first
    maker.make(config)
    assert waiting(maker) is None
    maker.wait(config)
    second = waiting(maker)
    assert second
    second.close()
    assert maker.make(config).ruleset.digest
    maker.wait(config)
    maker.close()
    monkeypatch.setattr(module, "compile_socket", lambda: Path("/"))
    maker.wait(config)
    with pytest.raises(UnavailableError, match=r"geodrop-compile\.socket"):
        maker.make(config)


def test_a_daemon_that_is_not_root_compiles_in_its_unit_only(
    config: Config, maker: Maker, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Without systemd's socket the maker refuses and names the command that starts it; a compiled file needs none."""
    monkeypatch.setattr(os, "geteuid", lambda: 998)
    monkeypatch.setattr(Child, "start", lambda: pytest.fail("a child with the daemon's own user"))
    with pytest.raises(UnavailableError, match=r"systemctl start geodrop-compile\.socket.*source: \{ruleset:"):
        maker.make(config)
    maker.wait(config)
    assert waiting(maker) is None
    (tmp_path / "fleet.ruleset").write_bytes(build_closed())
    made = maker.make(Config(source=Source(ruleset=str(tmp_path / "fleet.ruleset")), state=tmp_path))
    assert is_closed(made.ruleset.meta.compiler)


def test_no_source() -> None:
    """A missing source is an error only where a source is needed."""
    with pytest.raises(ConfigError, match="source"):
        source_of(Config())
