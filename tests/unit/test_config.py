# SPDX-License-Identifier: Apache-2.0
from dataclasses import fields
from pathlib import Path

import pytest

from geodrop.config import (
    KEEP,
    KEYS,
    METRICS,
    SOURCE,
    Config,
    MetricsConfig,
    Source,
    load_config,
    load_config_or_assume,
)
from geodrop.document.keys import Keys
from geodrop.errors import ConfigError, ConfigFileError
from geodrop.state.keep import Keep

WHOLE = """
source: {policy: policy.yaml, databases: [/var/lib/GeoIP/GeoLite2-Country.mmdb]}
engine: nftables
loader: bcc
interfaces: ["eth*", wan0]
first_boot: closed
state: /srv/geodrop
socket: /srv/geodrop.sock
metrics: {textfile: /srv/metrics}
keep: {rulesets: 30d, audit: 5y}
exempt_max: 1d
"""


def write(folder: Path, text: str) -> str:
    """Write an agent.yaml with this text."""
    path = folder / "agent.yaml"
    path.write_text(text)
    return str(path)


def test_whole_file(tmp_path: Path) -> None:
    """Every key is read; relative paths are relative to agent.yaml."""
    config = load_config(write(tmp_path, WHOLE))
    assert config == Config(
        source=Source(policy=str(tmp_path / "policy.yaml"), databases=("/var/lib/GeoIP/GeoLite2-Country.mmdb",)),
        engine="nftables",
        loader="bcc",
        interfaces=("eth*", "wan0"),
        first_boot="closed",
        state=Path("/srv/geodrop"),
        socket=Path("/srv/geodrop.sock"),
        metrics=MetricsConfig(listen=None, textfile="/srv/metrics"),
        keep=Keep(30 * 86_400, audit=5 * 365 * 86_400),
        exempt_max=86_400,
    )


@pytest.mark.parametrize(("keys", "model"), [(KEYS, Config), (SOURCE, Source), (METRICS, MetricsConfig)])
def test_the_keys_are_those_of_the_model(keys: Keys, model: type[Config | Source | MetricsConfig]) -> None:
    """The documented keys are those that the configuration has."""
    assert list(keys) == [field.name for field in fields(model)]


def test_what_is_kept(tmp_path: Path) -> None:
    """`keep` has any of its keys; the others have their defaults, which are ten years."""
    assert list(KEEP) == ["rulesets", "count", "size", "audit"]
    assert Keep().seconds == Keep().audit == 3_650 * 86_400
    for text, expected in (
        ("{audit: 2w}", Keep(audit=14 * 86_400)),
        ("{rulesets: 12h, count: 7, size: 2G}", Keep(43_200, 7, 2_000_000_000)),
        ("{size: 50M}", Keep(size=50_000_000)),
        ("{}", Keep()),
    ):
        assert load_config(write(tmp_path, f"keep: {text}")).keep == expected


def test_signatures(tmp_path: Path) -> None:
    """The files of keys are relative to agent.yaml. A damaged agent.yaml still tells that signatures are demanded."""
    text = "source: {ruleset: r}\nkeys: allowed_signers\nrevoked_keys: /etc/revoked\n"
    config = load_config(write(tmp_path, text))
    assert (config.keys, config.revoked_keys) == (str(tmp_path / "allowed_signers"), "/etc/revoked")
    assumed, doubt = load_config_or_assume(write(tmp_path, f"{text}state: {tmp_path}\nengine: ebpf\n"))
    assert doubt
    assert (assumed.keys, assumed.revoked_keys) == (config.keys, config.revoked_keys)


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_every_key_has_a_default(tmp_path: Path, text: str) -> None:
    """An empty file is the default configuration."""
    assert load_config(write(tmp_path, text)) == Config()


def test_missing_file(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """The default file may be missing; a named file may not."""
    monkeypatch.delenv("GEODROP_CONFIG", raising=False)
    monkeypatch.setattr("geodrop.config.DEFAULT_PATH", str(tmp_path / "none"))
    assert load_config(None) == Config()
    with pytest.raises(ConfigError, match="no such file"):
        load_config(str(tmp_path / "none"))
    monkeypatch.setenv("GEODROP_CONFIG", str(tmp_path / "none"))
    with pytest.raises(ConfigError, match="no such file"):
        load_config(None)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("engin: xdp", '1:1: error: "engin" is not a key of agent.yaml; did you mean "engine"?'),
        ("engine: ebpf", '1:9: error: engine of agent.yaml: "ebpf" is not known; write one of: auto, nftables, xdp'),
        ("loader: gcc", 'loader of agent.yaml: "gcc" is not known; write one of: libbpf, bcc'),
        ("first_boot: yes", "write one of: open, closed"),
        ("interfaces: eth0", "must be a list; write [eth0]"),
        ("interfaces: ['a b']", "cannot be an interface's name"),
        ("interfaces: [" + 128 * "a" + "]", "cannot be an interface's name"),
        (f"interfaces: [{', '.join(257 * ['eth0'])}]", "interfaces has 257 names, 256 is the most; write patterns"),
        ("interfaces: ['!eth*']", "leaves a pattern out; write the names of interfaces"),
        ("interfaces: ['eth*', '!eth1']", "interfaces has both !eth1 and eth*, which matches it"),
        ("source: {policy: p.yaml}", "needs policy and databases, or ruleset alone"),
        ("source: {databases: [d]}", "needs policy and databases, or ruleset alone"),
        ("source: {ruleset: r, policy: p, databases: [d]}", "needs policy and databases, or ruleset alone"),
        ("source: {polcy: p}", 'did you mean "policy"'),
        ("metrics: {listen: a, socket: b}", "takes one of"),
        ("metrics: {}", "takes one of"),
        ("keep: 400d", "keep"),
        ("keep: {rulesets: 400}", 'rulesets of keep: "400" is not a duration'),
        ("keep: {size: 5T}", "not a size; write for instance 500M or 2G"),
        ("keep: {count: 0}", "not a number; write 1 to 99999"),
        ("keep: {bytes: 5G}", "not a key of keep"),
        ("keep: [400d]", "keep is a list"),
        ("state:", "is empty"),
        ("[1, 2]", "agent.yaml is a list"),
        ("engine: [", "not YAML"),
        ("engine: auto\nengine: xdp", "2:1: error"),
        ("a: &a [*a]", "anchors"),
        (
            "source: {policy: p, databases: [d]}\nkeys: k",
            "1:9: error: with `keys` every ruleset has to be signed, and this host would compile its own; write",
        ),
        ("revoked_keys: k", "1:15: error: revoked_keys does nothing without keys; write keys, or leave it out"),
    ],
)
def test_mistakes(tmp_path: Path, text: str, message: str) -> None:
    """Each mistake is a ConfigFileError (78) with its place and what to write."""
    with pytest.raises(ConfigFileError, match=r"agent\.yaml:\d+:\d+: error") as caught:
        load_config(write(tmp_path, text))
    assert message in str(caught.value)
    assert caught.value.exit_code == 78


def test_every_mistake_is_told_at_once(tmp_path: Path) -> None:
    """All mistakes are reported in one run."""
    with pytest.raises(ConfigFileError) as caught:
        load_config(write(tmp_path, "engine: ebpf\nkeep: 1y\nsokket: /s\n"))
    assert [problem.place.line for problem in caught.value.problems] == [1, 2, 3]


def test_deep_nesting_is_a_mistake_not_a_crash(tmp_path: Path) -> None:
    """A deeply nested file is refused like any other bad YAML."""
    with pytest.raises(ConfigFileError):
        load_config(write(tmp_path, "[" * 5000))
