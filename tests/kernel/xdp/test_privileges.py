# SPDX-License-Identifier: Apache-2.0
"""As an unprivileged user with chosen capabilities: what works, and what errors say about missing ones."""

from __future__ import annotations

import json
import os
import sys
import tempfile
from typing import TYPE_CHECKING, Any

import pytest

from tests.support.bpffs import own_pins
from tests.support.namespaces import End, Namespace, join, namespaces
from tests.support.users import NOBODY, as_user
from tests.support.worlds import POLICY_CN, packed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

    from geodrop.xdp.pins import Pins

CHILD = """
import json, sys
from pathlib import Path
from tests.support.engines import XdpEngine
from geodrop.xdp.pins import Pins
from geodrop.errors import GeodropError
from geodrop.ruleset.model import Ruleset

pins = Pins(Path(sys.argv[1]))
ruleset = Ruleset.unpack(bytes.fromhex(sys.stdin.read()), "test")
engine = XdpEngine(pins=pins)
try:
    engine.apply(ruleset, 1, ["eth0"])
    attach = engine.observe().interfaces[0].attach
    print(json.dumps({"attach": attach, "differences": len(engine.verify(ruleset))}))
    engine.remove()
except GeodropError as error:
    sets = [path.name for path in pins.sets()]
    print(json.dumps({"code": error.exit_code, "message": error.message, "next_step": error.next_step, "sets": sets}))
"""
"""A program that loads a ruleset from stdin on eth0 and prints the result as a line of JSON."""


@pytest.fixture
def place(kernel: None, tmp_path: Path) -> Iterator[tuple[Namespace, Pins, Path]]:
    """Yield a namespace with eth0, a bpffs that belongs to the user nobody, and a ruleset."""
    del kernel
    ruleset = tmp_path / "a.ruleset"
    ruleset.write_bytes(packed(POLICY_CN, tmp_path))
    with namespaces("far", "host") as [far, host], own_pins() as pins:
        join(End(far, "far0"), End(host, "eth0"))
        os.chown(pins.folder.parent, NOBODY, NOBODY)
        yield host, pins, ruleset


def attempt(place: tuple[Namespace, Pins, Path], *names: str) -> Any:  # noqa: ANN401 - what the child printed
    """Load in a child with these capabilities and no others."""
    namespace, pins, ruleset = place
    child = [*as_user(NOBODY, *names), sys.executable, "-c", CHILD, str(pins.folder)]
    return json.loads(namespace.run(*child, stdin=ruleset.read_bytes().hex()).splitlines()[-1])


def test_three_capabilities_are_enough(place: tuple[Namespace, Pins, Path]) -> None:
    """Without root, NET_ADMIN, BPF and PERFMON suffice to load, attach, verify and remove."""
    assert attempt(place, "net_admin", "bpf", "perfmon") == {"attach": "native", "differences": 0}


def test_what_root_pins_serves_the_daemons_user(place: tuple[Namespace, Pins, Path]) -> None:
    """Root, by hand, loads into the bpffs of the daemon's user, who can then continue and remove everything."""
    namespace, pins, ruleset = place
    namespace.run(
        sys.executable,
        "-c",
        CHILD.replace("    engine.remove()\n", ""),
        str(pins.folder),
        stdin=ruleset.read_bytes().hex(),
    )
    made = [pins.folder, *pins.folder.rglob("*")]
    assert len(made) > 10
    assert {path.lstat().st_uid for path in made} == {NOBODY}
    assert attempt(place, "net_admin", "bpf", "perfmon") == {"attach": "native", "differences": 0}
    assert not pins.sets()


def test_root_gives_a_fresh_bpffs_to_the_daemons_user(place: tuple[Namespace, Pins, Path]) -> None:
    """A bpffs belongs to root until the daemon first starts; what root pins there before serves the daemon too."""
    namespace, pins, ruleset = place
    mount = pins.folder.parent
    os.chown(mount, 0, 0)
    mount.chmod(0o700)
    with tempfile.TemporaryDirectory() as run_folder:
        os.chown(run_folder, NOBODY, NOBODY)
        of_the_daemon = f"from geodrop.state import places; places.OWN_BPFFS, places.RUN = '{mount}', '{run_folder}'\n"
        by_hand = of_the_daemon + CHILD.replace("    engine.remove()\n", "")
        namespace.run(sys.executable, "-c", by_hand, str(pins.folder), stdin=ruleset.read_bytes().hex())
    assert {path.lstat().st_uid for path in (mount, pins.folder, *pins.folder.rglob("*"))} == {NOBODY}
    assert attempt(place, "net_admin", "bpf", "perfmon") == {"attach": "native", "differences": 0}
    assert not pins.sets()


@pytest.mark.parametrize(
    ("given", "missing", "cost", "step"),
    [
        (("net_admin", "bpf"), "CAP_PERFMON", "the verifier refuses", "make install XDP=1"),
        (("net_admin", "perfmon"), "CAP_BPF", "no BPF map can be made", "make install XDP=1"),
        (("bpf", "perfmon"), "CAP_NET_ADMIN", "no program attached", "AmbientCapabilities=CAP_NET_ADMIN"),
    ],
)
def test_one_that_is_missing_is_named(
    place: tuple[Namespace, Pins, Path], given: tuple[str, ...], missing: str, cost: str, step: str
) -> None:
    """The error (77) says what is lost, and what gives a unit all capabilities; nothing is left behind."""
    found = attempt(place, *given)
    assert found["code"] == 77
    assert found["message"].startswith(f"{missing} is missing: ")
    assert cost in found["message"]
    assert step in found["next_step"]
    assert found["sets"] == []
