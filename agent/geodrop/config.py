# SPDX-License-Identifier: Apache-2.0
"""Read agent.yaml, the host's configuration and the only one that the daemon itself parses. Every key has a default."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any

from geodrop.document.keys import Key
from geodrop.document.problems import shown
from geodrop.errors import ConfigError, ConfigFileError, UnavailableError, not_opened
from geodrop.inputs import read_regular
from geodrop.state.keep import Keep
from geodrop.state.lock import last_state
from geodrop.state.names import ENGINES, INTERFACE, MAX_NAMES
from geodrop.state.places import default_socket, default_state

if TYPE_CHECKING:
    from collections.abc import Mapping

    from geodrop.document.problems import Problem, ProblemReport
    from geodrop.document.tree import Node

DEFAULT_PATH = "/etc/geodrop/agent.yaml"
LOADERS = ("libbpf", "bcc")
FIRST_BOOT = ("open", "closed")
UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400, "y": 365 * 86_400}
DURATION = re.compile(r"([1-9][0-9]{0,5})([hdwy])")
LONGEST_EXEMPT = 52 * UNITS["w"]
"""The most that exempt_max can be, in seconds: what lasts longer belongs into the policy."""

MAX_SIZE = 1 << 20
"""Bytes of agent.yaml."""

COUNT = re.compile(r"[1-9][0-9]{0,4}")
SIZES = {"M": 1_000_000, "G": 1_000_000_000}
SIZE = re.compile(r"([1-9][0-9]{0,5})([MG])")

SOURCE = {
    "policy": Key("a policy, with `databases`"),
    "databases": Key(
        "GeoIP databases: of countries or cities, and beside them of networks (ASN) and anonymisers, for lists; the "
        "first that knows an address answers, for each of these"
    ),
    "ruleset": Key("a ruleset that `geodrop compile` made, instead of the other two"),
}

METRICS = {
    "listen": Key("a loopback address and port (default: `127.0.0.1:9817`)"),
    "socket": Key("a Unix socket"),
    "textfile": Key(
        "a folder that node_exporter reads; geodrop.prom says when it was written, or that the daemon has stopped"
    ),
}

KEEP = {
    "rulesets": Key("for how long a ruleset is kept, in `h`, `d`, `w` or `y` (default: `10y`)"),
    "count": Key("how many rulesets at most (default: `1000`)"),
    "size": Key(
        "how many bytes of rulesets at most, in `M` or `G` (default: `500M`); whatever it says, what is in force, the "
        "last good one and the policy before it stay"
    ),
    "audit": Key("for how long records of the history are kept (default: `10y`), up to 16 MB of them"),
}

KEYS = {
    "source": Key("where the policy comes from; relative names are relative to agent.yaml", SOURCE),
    "engine": Key("`auto` (default), `nftables` or `xdp`"),
    "loader": Key("what loads the program of xdp: `libbpf` (default), or `bcc`, which builds it on the host"),
    "interfaces": Key(
        "where packets are judged, a list of names that may end in `*`; `!NAME` is left out. Without any other name: "
        "those with a default route in any table, but no loopback, bridge, veth or tunnel"
    ),
    "first_boot": Key("`open` (default) or `closed`: as long as there is no ruleset to load"),
    "state": Key("the folder for rulesets, the history and what was asked for last (default: `/var/lib/geodrop`)"),
    "socket": Key("the control socket (default: `/run/geodrop/control.sock`)"),
    "metrics": Key("where metrics are served; one of the following", METRICS),
    "watch": Key("`true`: reload when the policy, a list, a database or the ruleset changes (default: `false`)"),
    "keep": Key("which rulesets that are not in force are kept, and which records; the following", KEEP),
    "exempt_max": Key(
        "for how long `geodrop exempt` may let a source pass at most, in `h`, `d` or `w` (default: `7d`; at most `52w`)"
    ),
    "keys": Key(
        "whose signatures count, a file in the form of allowed_signers (ssh-keygen(1)) that only root can change. Then "
        "every ruleset has to be signed, and `source` names a `ruleset`"
    ),
    "revoked_keys": Key(
        "keys whose signatures count no more: public keys, or a KRL, in a file that only root can change"
    ),
}
"""All keys of agent.yaml."""


@dataclass(frozen=True, slots=True)
class Source:
    """Where the policy in force comes from: a policy and databases, or a ruleset compiled elsewhere."""

    policy: str | None = None
    databases: tuple[str, ...] = ()
    ruleset: str | None = None


@dataclass(frozen=True, slots=True)
class MetricsConfig:
    """Where metrics are served: one of the three is set, or none."""

    listen: str | None = "127.0.0.1:9817"
    socket: str | None = None
    textfile: str | None = None


@dataclass(frozen=True, slots=True)
class Config:
    """agent.yaml, typed. `interfaces` without a name means those with a default route; `exempt_max` is in seconds.

    `keys` and `revoked_keys` are paths; with `keys`, only what was signed comes in force.
    """

    source: Source | None = None
    engine: str = "auto"
    loader: str = "libbpf"
    interfaces: tuple[str, ...] = ()
    first_boot: str = "open"
    state: Path = field(default_factory=default_state)
    socket: Path = field(default_factory=default_socket)
    metrics: MetricsConfig = MetricsConfig()
    watch: bool = False
    keep: Keep = field(default_factory=Keep)
    exempt_max: int = 7 * UNITS["d"]
    keys: str | None = None
    revoked_keys: str | None = None


def load_config(path: str | None) -> Config:
    """Read agent.yaml from `path`, $GEODROP_CONFIG or its default path.

    A named file must exist; the default one may be missing. Raises ConfigError, and ConfigFileError with every problem
    in the file.
    """
    found, problems = _read(path) or ({}, [])
    if problems:
        raise ConfigFileError(problems)
    return Config(**found)


def load_config_or_assume(path: str | None, *, slips: bool = True) -> tuple[Config, str]:
    """Load agent.yaml for what must work even if the file is broken: a boot, the daemon, status, pause and unload.

    If the file is damaged, missing or unreadable, interfaces and engine are those of the last load. `state`,
    `first_boot` and `keys` are taken from the file if they can be read; otherwise the state directory is that of the
    last daemon, and signatures are demanded if they were at the last load. All other keys have their defaults, and no
    ruleset is removed. Returns the configuration and a line of text that says so; the line is empty if all was read, or
    if the default file is missing. Raises ConfigError if `path` names no existing file, which is probably a typing
    mistake; not with `slips` False.
    """
    found: dict[str, Any] = {}
    try:
        read = _read(path)
        if read and not read[1]:
            return Config(**read[0]), ""
        found, problems = read or ({}, [])
        said = str(problems[0]).splitlines()[0] if problems else ""
    except ConfigError as error:
        if path and slips and not os.path.lexists(path):
            raise
        said = error.message
    state, where = found.get("state"), "as it says"
    if state is None:
        state, where = _last_state()
    assumed = replace(_of_the_last_load(state, found), state=state)
    if not said:
        return assumed, ""
    told = f"state in {state}, {where}; interfaces and engine as at the last load; all else by default"
    return replace(assumed, keep=Keep.everything()), f"without agent.yaml, which cannot be used ({said}): {told}"


def _last_state() -> tuple[Path, str]:
    with suppress(UnavailableError):
        if last := last_state():
            return Path(last), "that of the last daemon"
    return default_state(), "its usual place"


def _of_the_last_load(state: Path, found: Mapping[str, Any]) -> Config:
    """Return a configuration with interfaces and engine of the last load, if known, and what `found` has for a boot."""
    # Not imported at the top: a host with a valid agent.yaml does not need it.
    from geodrop.state.store import Store  # noqa: PLC0415

    usable = ("interfaces", "first_boot", "keys", "revoked_keys")
    store = Store(state)
    intent, read = store.intent(), {key: found[key] for key in usable if key in found}
    last = {"interfaces": intent.interfaces, "engine": intent.engine or None}
    if "keys" not in read and store.accepted.path.exists():
        # Nothing new comes in force without agent.yaml, so no key is read: the name says who demands signatures.
        last["keys"] = str(store.accepted.path)
    return Config(**read | {key: value for key, value in last.items() if value is not None})


def _read(path: str | None) -> tuple[dict[str, Any], list[Problem]] | None:
    """Return the keys that can be used, and all problems if there is an error; None if the default file is missing.

    Raises ConfigError if the file cannot be read.
    """
    named = path or os.environ.get("GEODROP_CONFIG")
    at = named or DEFAULT_PATH
    try:
        data = read_regular(at, MAX_SIZE)
    except FileNotFoundError:
        if named is None:
            return None
        raise ConfigError(f"{at}: no such file", "name another with --config, or leave it out for defaults") from None
    except OSError as error:
        raise not_opened(at, error, ConfigError, "name a file of YAML that can be read") from error
    # Not imported at the top: most hosts and most verbs have no agent.yaml to read.
    from geodrop.document.tree import read_document  # noqa: PLC0415

    _, root, report = read_document(data, at)
    # The content of a file that is not valid YAML, or has a duplicate key, is undefined, so none of it is used.
    found = _Reader(Path(at).parent, report).keys(root) if root and not report.failed else {}
    return found, report.problems() if report.failed else []


class _Reader:
    """Turns the tree of the file into fields of Config, key by key; reports mistakes and continues."""

    def __init__(self, folder: Path, report: ProblemReport) -> None:
        from geodrop.document import shape  # noqa: PLC0415 - as above

        self._folder = folder
        self._report = report
        self._shape = shape

    def keys(self, root: Node) -> dict[str, Any]:
        """Return the values of the whole file by key; a key with a mistake in it is left out."""
        found = self._shape.fields(self._report, root, "agent.yaml", KEYS)
        read: dict[str, object] = {
            "engine": found.value("engine", partial(self._choice, ENGINES)),
            "loader": found.value("loader", partial(self._choice, LOADERS)),
            "first_boot": found.value("first_boot", partial(self._choice, FIRST_BOOT)),
            "state": found.value("state", Path),
            "socket": found.value("socket", Path),
            "exempt_max": found.value("exempt_max", self._exempt_max),
            "keys": found.value("keys", self._beside),
            "revoked_keys": found.value("revoked_keys", self._beside),
            "watch": found.value("watch", lambda text: self._choice(("true", "false"), text) == "true"),
        }
        for key, parse in (
            ("keep", self._keep),
            ("source", self._source),
            ("interfaces", self._interfaces),
            ("metrics", self._metrics),
        ):
            if key in found.nodes:
                errors = self._report.errors
                parsed = parse(found.nodes[key])
                read[key] = parsed if self._report.errors == errors else None
        self._check_signed(found.nodes, read)
        return {name: value for name, value in read.items() if value is not None}

    def _check_signed(self, nodes: Mapping[str, Node], read: Mapping[str, object]) -> None:
        """Refuse what contradicts the demand for signatures."""
        source = read.get("source")
        if "keys" in nodes and isinstance(source, Source) and source.policy:
            self._report.error(
                nodes["source"].place,
                "with `keys` every ruleset has to be signed, and this host would compile its own; write  "
                "source: {ruleset: FILE}  and compile it elsewhere, with: geodrop compile --sign KEY",
            )
        if "revoked_keys" in nodes and "keys" not in nodes:
            self._report.error(
                nodes["revoked_keys"].place, "revoked_keys does nothing without keys; write keys, or leave it out"
            )

    def _interfaces(self, node: Node) -> tuple[str, ...]:
        names = tuple(self._shape.values(self._report, node, "interfaces", self._interface))
        if len(names) > MAX_NAMES:
            self._report.error(
                node.place, f"interfaces has {len(names):,} names, {MAX_NAMES} is the most; write patterns"
            )
        self._check_left_out(node, names)
        return names

    def _source(self, node: Node) -> Source | None:
        found = self._shape.fields(self._report, node, "source", SOURCE)
        policy, ruleset = found.value("policy", self._beside), found.value("ruleset", self._beside)
        databases: list[str] = []
        if "databases" in found.nodes:
            databases = self._shape.values(self._report, found.nodes["databases"], "databases", self._beside)
        if (ruleset is None) == (policy is None) or (policy is None) == bool(databases):
            self._report.error(node.place, "source needs policy and databases, or ruleset alone; write one of the two")
            return None
        return Source(policy, tuple(databases), ruleset)

    def _keep(self, node: Node) -> Keep:
        found = self._shape.fields(self._report, node, "keep", KEEP)
        read = {
            "seconds": found.value("rulesets", self._duration),
            "count": found.value("count", self._count),
            "size": found.value("size", self._size),
            "audit": found.value("audit", self._duration),
        }
        return Keep(**{name: value for name, value in read.items() if value is not None})

    def _count(self, text: str) -> int:
        if not COUNT.fullmatch(text):
            raise self._shape.UnreadableError(f"{shown(text)} is not a number; write 1 to 99999")
        return int(text)

    def _size(self, text: str) -> int:
        found = SIZE.fullmatch(text)
        if not found:
            raise self._shape.UnreadableError(f"{shown(text)} is not a size; write for instance 500M or 2G")
        return int(found[1]) * SIZES[found[2]]

    def _metrics(self, node: Node) -> MetricsConfig | None:
        found = self._shape.fields(self._report, node, "metrics", METRICS)
        if len(found.nodes) != 1:
            self._report.error(node.place, "metrics takes one of listen, socket and textfile; write one of them")
            return None
        return MetricsConfig(
            found.value("listen", self._loopback),
            found.value("socket", self._beside),
            found.value("textfile", self._beside),
        )

    def _loopback(self, text: str) -> str:
        """Return a loopback address and port: counters tell where customers are, so they must not reach the network."""
        host, _, port = text.rpartition(":")
        try:
            good = ip_address(host.strip("[]")).is_loopback and 0 < int(port) < 1 << 16
        except ValueError:
            good = False
        if not good:
            raise self._shape.UnreadableError(
                f"{shown(text)} is no loopback address and port; write for instance 127.0.0.1:9817 or [::1]:9817"
            )
        return text

    def _beside(self, text: str) -> str:
        """Return a path; a relative path is relative to agent.yaml."""
        return str(self._folder / text)

    def _interface(self, text: str) -> str:
        if not INTERFACE.fullmatch(text):
            raise self._shape.UnreadableError(
                f"{shown(text)} cannot be an interface's name; write at most 127 characters without space, / or :"
            )
        if text.startswith("!") and any(sign in text for sign in "*?["):
            raise self._shape.UnreadableError(f"{shown(text)} leaves a pattern out; write the names of interfaces")
        return text

    def _check_left_out(self, node: Node, names: tuple[str, ...]) -> None:
        """Refuse a pattern that matches an excluded interface.

        The kernel gets the pattern itself, for later interfaces too, and cannot make an exception.
        """
        for name in names:
            pattern = next((one for one in names if name[0] == "!" and fnmatchcase(name[1:], one)), None)
            if pattern:
                self._report.error(
                    node.place,
                    f"interfaces has both {name} and {pattern}, which matches it; write the names of the interfaces",
                )

    def _duration(self, text: str) -> int:
        found = DURATION.fullmatch(text)
        if not found:
            raise self._shape.UnreadableError(f"{shown(text)} is not a duration; write for instance 10y, 8w or 12h")
        return int(found[1]) * UNITS[found[2]]

    def _exempt_max(self, text: str) -> int:
        seconds = self._duration(text)
        if seconds > LONGEST_EXEMPT:
            raise self._shape.UnreadableError(f"{shown(text)} is too long; write at most 52w, or a policy line")
        return seconds

    def _choice(self, choices: tuple[str, ...], text: str) -> str:
        if text not in choices:
            raise self._shape.UnreadableError(f"{shown(text)} is not known; write one of: {', '.join(choices)}")
        return text
