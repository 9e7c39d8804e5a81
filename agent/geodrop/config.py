"""agent.yaml: what this host is to do. The only configuration the daemon itself parses; every key has a default."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from functools import partial
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop.document.keys import Key
from geodrop.document.problems import shown
from geodrop.errors import ConfigError, ConfigFileError, UnavailableError, not_opened
from geodrop.inputs import read_regular
from geodrop.state.keep import Keep
from geodrop.state.lock import last_state
from geodrop.state.places import default_socket, default_state

if TYPE_CHECKING:
    from geodrop.document.problems import Report
    from geodrop.document.tree import Node

DEFAULT_PATH = "/etc/geodrop/agent.yaml"
ENGINES = ("auto", "nftables", "xdp")
LOADERS = ("libbpf", "bcc")
FIRST_BOOT = ("open", "closed")
UNITS = {"h": 3600, "d": 86_400, "w": 7 * 86_400}
DURATION = re.compile(r"([1-9][0-9]{0,5})([hdw])")
MAX_SIZE = 1 << 20
"""Bytes of agent.yaml."""

COUNT = re.compile(r"[1-9][0-9]{0,4}")
SIZES = {"M": 1_000_000, "G": 1_000_000_000}
SIZE = re.compile(r"([1-9][0-9]{0,5})([MG])")
INTERFACE = re.compile(r"!?[^\s/:]{1,127}")
"""dev_valid_name in net/core/dev.c, as long as alternative names may be, with room for the patterns of fnmatch."""


SOURCE = {
    "policy": Key("a policy, with `databases`"),
    "databases": Key("GeoIP databases; the first that has a country answers"),
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
    "rulesets": Key("for how long, in `h`, `d` or `w` (default: `400d`)"),
    "count": Key("how many at most (default: `200`)"),
    "size": Key(
        "how many bytes of them at most, in `M` or `G` (default: `500M`); whatever it says, what is in force, the "
        "last good one and the policy before it stay"
    ),
}

KEYS = {
    "source": Key("where the policy comes from; relative names are relative to agent.yaml", SOURCE),
    "engine": Key("`auto` (default), `nftables` or `xdp`"),
    "loader": Key("who loads the program of xdp: `libbpf` (default), or `bcc`, which builds it on the host"),
    "interfaces": Key(
        "where packets are judged, a list of names that may end in `*`; `!NAME` is left out. Without any other name: "
        "those with a default route in any table, but no loopback, bridge, veth or tunnel"
    ),
    "first_boot": Key("`open` (default) or `closed`: as long as there is no ruleset to load"),
    "state": Key("the folder for rulesets and what is remembered (default: `/var/lib/geodrop`)"),
    "socket": Key("the control socket (default: `/run/geodrop/control.sock`)"),
    "metrics": Key("where metrics are to be had; one of the following", METRICS),
    "watch": Key("`true`: reload when the policy, a list, a database or the ruleset changes (default: `false`)"),
    "keep": Key("which rulesets are kept that are not in force: for how long, or the following", KEEP),
}
"""agent.yaml's keys, whole."""


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
    """agent.yaml, typed. `interfaces` without a name means those with a default route."""

    source: Source | None = None
    engine: str = "auto"
    loader: str = "libbpf"
    interfaces: tuple[str, ...] = ()
    first_boot: str = "open"
    state: Path = field(default_factory=default_state)
    socket: Path = field(default_factory=default_socket)
    metrics: Metrics = Metrics()
    watch: bool = False
    keep: Keep = field(default_factory=Keep)


def load_config(path: str | None) -> Config:
    """Read agent.yaml from `path`, $GEODROP_CONFIG or its usual place.

    A file that was named must exist; the usual one may be missing. Raises ConfigError, and ConfigFileError with every
    problem in the file.
    """
    named = path or os.environ.get("GEODROP_CONFIG")
    at = named or DEFAULT_PATH
    try:
        data = read_regular(at, MAX_SIZE)
    except FileNotFoundError:
        if named is None:
            return Config()
        raise ConfigError(f"{at}: no such file", "name another with --config, or leave it out for defaults") from None
    except OSError as error:
        raise not_opened(at, error, ConfigError, "name a file of YAML that can be read") from error
    # Not imported at the top: most hosts and most verbs have no agent.yaml to read.
    from geodrop.document.tree import read_document  # noqa: PLC0415

    _, root, report = read_document(data, at)
    config = _Reader(Path(at).parent, report).config(root) if root else Config()
    if report.failed:
        raise ConfigFileError(report.problems())
    return config


def load_config_or_assume(path: str | None) -> tuple[Config, str]:
    """The same for what must work whatever agent.yaml is like: to look, and to break the glass.

    Where it is damaged or cannot be read, its defaults, with the state where the last daemon had it and nothing
    forgotten, and a line that says so. Raises ConfigError where `path` names no file: that is a slip of the pen.
    """
    try:
        return load_config(path), ""
    except ConfigError as error:
        if path and not os.path.lexists(path):
            raise
        state, where = default_state(), "its usual place"
        with suppress(UnavailableError):
            if last := last_state():
                state, where = Path(last), "that of the last daemon"
        said = error.message.splitlines()[0]
        doubt = f"without agent.yaml, which cannot be used ({said}): state in {state}, {where}; all else by default"
        return Config(state=state, keep=Keep.everything()), doubt


class _Reader:
    """Turns the tree of the file into a Config, key by key; reports what is wrong and goes on."""

    def __init__(self, folder: Path, report: Report) -> None:
        from geodrop.document import shape  # noqa: PLC0415 - as above

        self._folder = folder
        self._report = report
        self._shape = shape

    def config(self, root: Node) -> Config:
        """The whole file."""
        found = self._shape.fields(self._report, root, "agent.yaml", KEYS)
        read: dict[str, object] = {
            "engine": found.value("engine", partial(self._choice, ENGINES)),
            "loader": found.value("loader", partial(self._choice, LOADERS)),
            "first_boot": found.value("first_boot", partial(self._choice, FIRST_BOOT)),
            "state": found.value("state", Path),
            "socket": found.value("socket", Path),
            "watch": found.value("watch", lambda text: self._choice(("true", "false"), text) == "true"),
        }
        if "keep" in found.nodes:
            read["keep"] = self._keep(found.nodes["keep"])
        if "source" in found.nodes:
            read["source"] = self._source(found.nodes["source"])
        if "interfaces" in found.nodes:
            node = found.nodes["interfaces"]
            read["interfaces"] = names = tuple(self._shape.values(self._report, node, "interfaces", self._interface))
            self._check_left_out(node, names)
        if "metrics" in found.nodes:
            read["metrics"] = self._metrics(found.nodes["metrics"])
        return Config(**{name: value for name, value in read.items() if value is not None})  # type: ignore[arg-type]

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
        from geodrop.document.tree import Scalar  # noqa: PLC0415 - as above

        if isinstance(node, Scalar):
            # A duration alone is how long.
            seconds = self._shape.value(self._report, node, "keep of agent.yaml", self._duration)
            return Keep() if seconds is None else Keep(seconds)
        found = self._shape.fields(self._report, node, "keep", KEEP)
        read = {
            "seconds": found.value("rulesets", self._duration),
            "count": found.value("count", self._count),
            "size": found.value("size", self._size),
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

    def _metrics(self, node: Node) -> Metrics | None:
        found = self._shape.fields(self._report, node, "metrics", METRICS)
        if len(found.nodes) != 1:
            self._report.error(node.place, "metrics takes one of listen, socket and textfile; write one of them")
            return None
        return Metrics(
            found.value("listen", self._loopback),
            found.value("socket", self._beside),
            found.value("textfile", self._beside),
        )

    def _loopback(self, text: str) -> str:
        """What is counted says who is a customer where: it is not for the network."""
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
        """A path; a relative one is relative to agent.yaml."""
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
        """A pattern goes to the kernel as it is, for interfaces to come: it cannot spare one."""
        for name in names:
            pattern = next((one for one in names if name[0] == "!" and fnmatchcase(name[1:], one)), None)
            if pattern:
                self._report.error(
                    node.place,
                    f"interfaces has both {name} and {pattern}, which means it; write the names of those to be judged",
                )

    def _duration(self, text: str) -> int:
        found = DURATION.fullmatch(text)
        if not found:
            raise self._shape.UnreadableError(f"{shown(text)} is not a duration; write for instance 400d, 12h or 8w")
        return int(found[1]) * UNITS[found[2]]

    def _choice(self, choices: tuple[str, ...], text: str) -> str:
        if text not in choices:
            raise self._shape.UnreadableError(f"{shown(text)} is not known; write one of: {', '.join(choices)}")
        return text
