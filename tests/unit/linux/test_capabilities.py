# SPDX-License-Identifier: Apache-2.0
"""Capabilities are read from the kernel, and a missing one is named with what it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

from geodrop.errors import PrivilegeError
from geodrop.linux import capabilities

SCRIPT = "from geodrop.linux.capabilities import effective; print(*sorted(effective()))"


@pytest.mark.root
@pytest.mark.parametrize(
    ("given", "found"),
    [
        ("-all", ""),
        ("-all,+net_admin,+bpf", "CAP_BPF CAP_NET_ADMIN"),
        ("-all,+sys_admin", "CAP_BPF CAP_PERFMON CAP_SYS_ADMIN"),
    ],
)
def test_effective_is_what_the_kernel_says(given: str, found: str) -> None:
    """Root with a smaller bounding set has fewer capabilities; CAP_SYS_ADMIN contains the two split from it."""
    command = ["setpriv", "--inh-caps", given, "--bounding-set", given, sys.executable, "-c", SCRIPT]
    assert subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip() == found


def test_what_is_missing_is_named_with_its_cost(monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 77; each missing capability is named, with the line for the unit, or the install step for xdp."""
    monkeypatch.setattr(capabilities, "effective", lambda: frozenset({"CAP_BPF"}))
    capabilities.require(["CAP_BPF"])
    with pytest.raises(PrivilegeError) as caught:
        capabilities.require(capabilities.XDP)
    assert caught.value.exit_code == 77
    assert "CAP_NET_ADMIN is missing: no rule can be changed" in caught.value.message
    assert "CAP_PERFMON is missing: the verifier refuses" in caught.value.message
    assert caught.value.next_step.endswith("make install XDP=1")
    with pytest.raises(PrivilegeError) as caught:
        capabilities.require(capabilities.NFTABLES)
    assert caught.value.next_step.endswith("AmbientCapabilities=CAP_NET_ADMIN")
