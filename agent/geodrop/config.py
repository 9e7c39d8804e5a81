"""agent.yaml: what this host is to do. The only configuration the daemon itself parses; every key has a default."""

from __future__ import annotations

import os
import re
from dataclasses import dataclass, field, replace
from difflib import get_close_matches
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodrop.errors import ConfigError
from geodrop.state.places import default_socket, default_state

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping

DEFAULT_PATH = "/etc/geodrop/agent.yaml"
ENGINES = ("auto", "nftables", "xdp")
FIRST_BOOT = ("open", "closed")
UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
INTERFACE = re.compile(r"[^\s/:]{1,15}")
"""dev_valid_name in net/core/dev.c, with room for the patterns of fnmatch."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the policy in force comes from: a policy and databases, or a ruleset compiled elsewhere."""

    policy: str | None = None
    databases: tuple[str, ...] = ()
    ruleset: str | None = None


@dataclass(frozen=True, slots=True)
class Metrics:
    """Where metrics are served: one of the three, or nowhere."""

    listen: str | None = "127.0.0.1:9817"
    socket: str | None = None
    textfile: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """agent.yaml, typed. `interfaces` empty means those with a default route; `keep` is in seconds."""

    source: Source | None = None
    engine: str = "auto"
    interfaces: tuple[str, ...] = ()
    first_boot: str = "open"
    state: Path = field(default_factory=default_state)
    socket: Path = field(default_factory=default_socket)
    metrics: Metrics = Metrics()
    keep: int = 400 * UNITS["d"]


def load_config(path: str | None) -> Config:
    """Read agent.yaml from `path`, $GEODROP_CONFIG or its usual place; raises ConfigError.

    A file that was named must exist; the usual one may be missing.
    """
    named = path or os.environ.get("GEODROP_CONFIG")
    at = named or DEFAULT_PATH
    try:
        text = Path(at).read_text(encoding="utf-8")
    except FileNotFoundError:
        if named is None:
            return Config()
        raise ConfigError(f"{at}: no such file", "name another with --config, or leave it out for defaults") from None
    except OSError as error:
        raise ConfigError(f"{at}: {error.strerror}", "run as root or as a member of group geodrop") from error
    except UnicodeDecodeError as error:
        raise ConfigError(f"{at}: not UTF-8 text (byte {error.start})", "save it as UTF-8") from error
    return _Reader(at).config(_parse(at, text))


def _parse(at: str, text: str) -> Mapping[str, Any]:
    import yaml  # noqa: PLC0415 - not at the top: most hosts and most verbs have no agent.yaml to read

    try:
        # BaseLoader makes every scalar a string: no YAML 1.1 surprises to undo.
        content = yaml.load(text, Loader=yaml.BaseLoader)  # noqa: S506 - BaseLoader builds nothing but text
    except (yaml.YAMLError, RecursionError) as error:
        mark = getattr(error, "problem_mark", None)
        place = f"{at}:{mark.line + 1}:{mark.column + 1}" if mark else at
        what = getattr(error, "problem", None) or "cannot be read as YAML"
        raise ConfigError(f"{place}: error: {what}", "mend the YAML") from error
    if content in (None, ""):
        return {}
    if not isinstance(content, dict):
        raise ConfigError(f"{at}:1:1: error: must be a mapping", "write keys such as `engine: auto`")
    return content


class _Reader:
    """Turns the parsed file into a Config, each key by its own function; the first mistake ends it."""

    def __init__(self, at: str) -> None:
        self.at = at

    def config(self, content: Mapping[str, Any]) -> Config:
        readers: dict[str, Callable[[str, Any], Any]] = {
            "source": self.source,
            "engine": lambda key, value: self.choice(key, value, ENGINES),
            "interfaces": self.interfaces,
            "first_boot": lambda key, value: self.choice(key, value, FIRST_BOOT),
            "state": lambda key, value: Path(self.text(key, value)),
            "socket": lambda key, value: Path(self.text(key, value)),
            "metrics": self.metrics,
            "keep": self.duration,
        }
        self.known("", content, readers)
        return replace(Config(), **{key: readers[key](key, value) for key, value in content.items()})

    def source(self, key: str, value: object) -> Source:
        content = self.mapping(key, value, ("policy", "databases", "ruleset"))
        source = Source(
            policy=self.beside(f"{key}.policy", content["policy"]) if "policy" in content else None,
            databases=tuple(self.beside(f"{key}.databases", one) for one in self.texts(key, content.get("databases"))),
            ruleset=self.beside(f"{key}.ruleset", content["ruleset"]) if "ruleset" in content else None,
        )
        if (source.ruleset is None) == (source.policy is None) or (source.ruleset is None) != bool(source.databases):
            raise self.wrong(key, "needs policy and databases, or ruleset alone")
        return source

    def beside(self, key: str, value: object) -> str:
        """A path; a relative one is relative to agent.yaml."""
        return str(Path(self.at).parent / self.text(key, value))

    def interfaces(self, key: str, value: object) -> tuple[str, ...]:
        names = self.texts(key, value)
        for name in names:
            if not INTERFACE.fullmatch(name):
                raise self.wrong(key, f"{name!r} cannot be an interface's name; at most 15 characters, no space or /")
        return names

    def metrics(self, key: str, value: object) -> Metrics:
        content = self.mapping(key, value, ("listen", "socket", "textfile"))
        if len(content) > 1:
            raise self.wrong(key, "takes one of listen, socket and textfile")
        return Metrics(**{"listen": None, **{name: self.text(key, item) for name, item in content.items()}})

    def duration(self, key: str, value: object) -> int:
        found = re.fullmatch(r"(\d{1,6})([hdw])", self.text(key, value))
        if not found:
            raise self.wrong(key, f"{value!r} is not a duration; write for instance 400d, 12h or 8w")
        return int(found[1]) * UNITS[found[2]]

    def choice(self, key: str, value: object, choices: tuple[str, ...]) -> str:
        if value not in choices:
            raise self.wrong(key, f"{value!r} is none of {', '.join(choices)}")
        return str(value)

    def text(self, key: str, value: object) -> str:
        if not isinstance(value, str) or not value:
            raise self.wrong(key, "must be a text")
        return value

    def texts(self, key: str, value: object) -> tuple[str, ...]:
        if value is not None and not isinstance(value, list):
            raise self.wrong(key, "must be a list, such as [eth0]")
        return tuple(self.text(key, item) for item in value or ())

    def mapping(self, key: str, value: object, keys: tuple[str, ...]) -> Mapping[str, Any]:
        if not isinstance(value, dict):
            raise self.wrong(key, f"must be a mapping of {', '.join(keys)}")
        self.known(f"{key}.", value, keys)
        return value

    def known(self, prefix: str, content: Mapping[str, Any], keys: Iterable[str]) -> None:
        for key in content:
            if key not in keys:
                close = get_close_matches(str(key), tuple(keys), n=1)
                hint = f"did you mean {prefix}{close[0]}?" if close else f"the keys are {', '.join(keys)}"
                raise ConfigError(f"{self.at}: error: unknown key {prefix}{key}", hint)

    def wrong(self, key: str, what: str) -> ConfigError:
        return ConfigError(f"{self.at}: error: {key}: {what}")
