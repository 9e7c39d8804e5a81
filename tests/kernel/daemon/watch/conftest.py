# SPDX-License-Identifier: Apache-2.0
"""An edge: a host with a daemon and an interface, and a client whose probes show what gets through."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bpffs import own_mounts
from tests.support.cli import Geodrop
from tests.support.daemons import Daemon, daemon
from tests.support.namespaces import End, join, namespaces
from tests.system.probes import Probes

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from tests.kernel.daemon.conftest import Host
    from tests.support.namespaces import Namespace

DENIED, ALLOWED = "1.0.0.9", "3.0.0.9"
ADDRESS = "198.18.0.1"
PATIENCE = 60.0


@dataclass(frozen=True)
class Edge:
    """The host. `number` of eth and far interfaces starts at 0."""

    host: Host
    far: Namespace
    mount: tuple[str, ...] = ()

    @property
    def geodrop(self) -> Geodrop:
        """Return the command line."""
        return self.host.geodrop

    def plug(self, number: int = 0) -> tuple[End, End]:
        """Add an interface."""
        ends = End(self.far, f"far{number}"), End(self.host.netns, f"eth{number}", [f"{ADDRESS}/24"])
        join(*ends)
        return ends

    def inside(self, *command: str) -> str:
        """Run a command where the daemon is, with its bpffs."""
        return self.host.netns.run(*self.mount, *command)

    def status(self) -> Any:  # noqa: ANN401 - an object of JSON
        """Return the daemon's status."""
        done = self.geodrop.run("status", "--json")
        assert "error" not in done.json, done
        return done.json

    def until(self, true: Callable[[Any], bool]) -> Any:  # noqa: ANN401 - as above
        """Return the first status that meets a condition."""
        began = time.monotonic()
        while not true(status := self.status()):
            assert time.monotonic() - began < PATIENCE, f"{status}"  # pytest would shorten an object
        return status

    def interfaces(self) -> set[tuple[str, str]]:
        """Return the interfaces judged, and by which engine."""
        return {(one["name"], one["engine"]) for one in self.status()["interfaces"]}

    @contextlib.contextmanager
    def probing(self, ends: tuple[End, End]) -> Iterator[Probes]:
        """Send probes from a denied and an allowed source."""
        with Probes(*ends, [DENIED, ALLOWED], {4: ADDRESS}) as probes:
            time.sleep(0.1)
            yield probes

    def agent(self, engine: str, interfaces: str, more: str = "") -> None:
        """Write agent.yaml."""
        self.host.agent(more=more)
        path = self.host.folder / "agent.yaml"
        text = path.read_text().replace("engine: nftables", f"engine: {engine}")
        path.write_text(text.replace("interfaces: [lo]", f"interfaces: {interfaces}"))


@pytest.fixture
def edge(host: Host) -> Iterator[Edge]:
    """Return an edge that judges every eth interface on nftables."""
    with namespaces("far") as [far]:
        made = Edge(host, far)
        made.agent("nftables", '["eth*"]')
        yield made


@pytest.fixture
def xdp_edge(edge: Edge) -> Iterator[Edge]:
    """Return an edge on both engines: xdp where possible, nftables for interfaces to come; it has its own bpffs."""
    with own_mounts() as entering:
        geodrop = Geodrop(edge.geodrop.folder, edge.host.netns, entering)
        made = Edge(dataclasses.replace(edge.host, geodrop=geodrop), edge.far, entering)
        made.agent("auto", '["eth*"]')
        yield made
        geodrop.run("unload")


@contextlib.contextmanager
def watched(edge: Edge) -> Iterator[tuple[Daemon, tuple[End, End]]]:
    """Run its daemon, ready, with the interface that existed from the start."""
    ends = edge.plug()
    with daemon(edge.geodrop) as running:
        yield running, ends
