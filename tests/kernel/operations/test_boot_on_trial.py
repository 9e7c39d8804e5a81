# SPDX-License-Identifier: Apache-2.0
"""`load --boot` in the boot in which a load waits to be confirmed: with the rights of geodrop-boot.service."""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from geodrop.config import Config
from geodrop.dataplane.both import BothEngines
from geodrop.nftables.engine import NftablesEngine
from geodrop.operations.change import by_me
from geodrop.operations.load import apply_file
from geodrop.ruleset.model import Ruleset
from geodrop.state.store import Store
from tests.support.bpffs import own_pins
from tests.support.databases import country
from tests.support.engines import XdpEngine
from tests.support.namespaces import End, join, namespaces
from tests.support.users import NOBODY, as_user
from tests.support.worlds import HEAD, packed

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.support.namespaces import Namespace

HOUR = 3_600
POLICY = HEAD + "    default: allow\n    unknown: allow\n    deny: [CODE]\n"
WORLD = {"1.0.1.0/24": country("CN"), "1.0.2.0/24": country("RU")}

BOOT = """
import sys, time
from pathlib import Path
from geodrop.config import Config
from geodrop.dataplane import both
from geodrop.operations.boot import boot
from geodrop.operations.change import by_me
from geodrop.xdp.engine import XdpEngine
from geodrop.xdp.pins import Pins
from tests.support.seccomp import forbid_bpf

forbid_bpf()
pins = Path(sys.argv[1])
both.default_pins = lambda: pins
both.make_xdp = lambda loader: XdpEngine(pins=Pins(pins))
print(boot(Config(interfaces=("eth0",), state=Path(sys.argv[2])), by_me("boot"), time.time()).text)
"""
"""The boot, with pins in a folder of the test."""


class Host:
    """A host whose state and bpffs belong to the daemon's user: CN is denied, and root puts RU on trial instead."""

    def __init__(self, netns: Namespace, pins: Path, state: Path, engine: str, rulesets: list[Ruleset]) -> None:
        self.netns, self.pins, self.rulesets = netns, pins, rulesets
        self.config = Config(engine=engine, interfaces=("eth0",), state=state)
        with netns.entered():
            apply_file(rulesets[0], self.config, engine, (), by_me("load"))
            apply_file(rulesets[1], self.config, engine, (), by_me("load", "", HOUR))

    def boot(self) -> str:
        """Boot as a user who has only the right to nftables; return what is said."""
        command = [*as_user(NOBODY, "net_admin"), sys.executable, "-c", BOOT]
        return self.netns.run(*command, str(self.pins), str(self.config.state))

    def in_force(self) -> tuple[int, str]:
        """Return generation and digest, read back by root."""
        with self.netns.entered():
            observed = BothEngines.here().observe()
        return observed.generation, observed.digest


@pytest.fixture(params=["nftables", "xdp"])
def host(
    kernel: None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> Iterator[Host]:
    """Yield the host, on each engine."""
    del kernel
    files = [tmp_path / f"{code}.ruleset" for code in ("CN", "RU")]
    for file in files:
        file.write_bytes(packed(POLICY.replace("CODE", file.stem), tmp_path, WORLD))
    with namespaces("far", "host") as [far, near], own_pins() as pins, tempfile.TemporaryDirectory() as state:
        join(End(far, "far0"), End(near, "eth0"))
        for folder in (pins.folder.parent, state):
            os.chown(folder, NOBODY, NOBODY)
        monkeypatch.setattr(BothEngines, "here", lambda *_: BothEngines(NftablesEngine(), XdpEngine(pins=pins)))
        yield Host(near, pins.folder, Path(state), request.param, [Ruleset.open(file) for file in files])
        with near.entered():
            BothEngines.here().remove()


def test_the_trial_goes_on(host: Host) -> None:
    """geodrop.service wants that unit, so its first start runs it: nothing is undone, loaded beside it or recorded."""
    before = host.in_force()
    intent, entries = Store(host.config.state).intent(), len(Store(host.config.state).history.entries())
    assert before == (2, host.rulesets[1].digest)
    assert "nothing to do" in host.boot()
    assert host.in_force() == before
    assert Store(host.config.state).intent() == intent
    assert len(Store(host.config.state).history.entries()) == entries


def test_after_a_boot_it_does_not(host: Host) -> None:
    """The kernel holds nothing then, in pins neither: what was in force before the trial is."""
    with host.netns.entered():
        BothEngines.here().remove()
    said = host.boot()
    assert host.rulesets[0].digest[:12] in said
    assert host.in_force() == (3, host.rulesets[0].digest)
    intent = Store(host.config.state).intent()
    assert (intent.confirm, intent.rolled_back) == (None, True)
    assert intent.undone is not None
