# SPDX-License-Identifier: Apache-2.0
import shutil
from pathlib import Path

import pytest

from tests.kernel.cli.conftest import Host


@pytest.mark.parametrize("options", [[], ["--full"]])
def test_agrees(host: Host, options: list[str]) -> None:
    """After a load the kernel matches, with and without --full."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    assert "the kernel matches ruleset" in host.geodrop.good("verify", *options).out
    assert host.geodrop.good("verify", "--json", *options).json["agrees"] is True


@pytest.mark.parametrize(
    "damage",
    [
        "flush chain inet geodrop prerouting",
        "flush chain inet geodrop g1-api",
        "add rule inet geodrop g1 accept",
        "insert rule inet geodrop g1-api.CN.ipv4 accept",
    ],
)
def test_foreign_changes_are_found(host: Host, damage: str) -> None:
    """A rule that another program removed or added: exit 1, named; status says degraded or not enforcing."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    host.netns.nft(damage)
    done = host.geodrop.run("verify")
    assert done.code in {1, 3}
    assert done.out or done.err
    assert host.geodrop.run("status").code in {1, 3}


def test_nothing_in_force(host: Host) -> None:
    """With nothing in force: 3."""
    assert host.geodrop.run("verify").code == 3


def test_ruleset_that_is_gone(host: Host) -> None:
    """Without the kept ruleset nothing can be compared: 65, with what to do; status reports it too."""
    host.geodrop.good("load", "--interface", "lo", host.cn)
    shutil.rmtree(Path(host.geodrop.folder) / "state" / "rulesets")
    done = host.geodrop.run("verify")
    assert done.code == 65
    assert "load its file again" in done.err
    assert host.geodrop.run("status").code == 1
