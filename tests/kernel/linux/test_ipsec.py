# SPDX-License-Identifier: Apache-2.0
"""Whether IPsec is in use, by the kernel's count of states."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.linux import ipsec
from tests.support.namespaces import Namespace, namespaces

if TYPE_CHECKING:
    import pytest


def test_in_use(netns: Namespace) -> None:
    """IPsec is in use from the first state to the last, in each network namespace separately."""
    assert ipsec.in_use() is False
    # An SPI reserved for a later state counts as a state, and needs no cipher.
    ends = ("src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp")
    netns.run("ip", "xfrm", "state", "allocspi", *ends, "reqid", "1", "mode", "tunnel", "min", "256", "max", "999")
    assert ipsec.in_use() is True
    with namespaces("other") as [other], other.entered():
        assert ipsec.in_use() is False
    netns.run("ip", "xfrm", "state", "flush")
    assert ipsec.in_use() is False


def test_a_kernel_that_does_not_listen_is_not_asked(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """Asking would load a module, so a kernel without a listener has no states.

    If the kernel does not answer it is unknown.
    """
    del netns
    monkeypatch.setattr(ipsec, "NETLINK_XFRM", 22)  # used by no subsystem
    assert ipsec.in_use() is False
    monkeypatch.setattr(ipsec, "_is_there", lambda: True)
    assert ipsec.in_use() is None
