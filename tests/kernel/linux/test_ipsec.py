"""Whether IPsec is in use, as the kernel counts it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from geodrop.linux import ipsec
from tests.support.namespaces import Namespace, namespaces

if TYPE_CHECKING:
    import pytest


def test_in_use(netns: Namespace) -> None:
    """With the first state, until the last; each network namespace for itself."""
    assert ipsec.in_use() is False
    # A number kept free for a state to come is a state, and needs no cipher.
    ends = ("src", "192.0.2.1", "dst", "192.0.2.2", "proto", "esp")
    netns.run("ip", "xfrm", "state", "allocspi", *ends, "reqid", "1", "mode", "tunnel", "min", "256", "max", "999")
    assert ipsec.in_use() is True
    with namespaces("other") as [other], other.entered():
        assert ipsec.in_use() is False
    netns.run("ip", "xfrm", "state", "flush")
    assert ipsec.in_use() is False


def test_a_kernel_that_does_not_listen_is_not_asked(netns: Namespace, monkeypatch: pytest.MonkeyPatch) -> None:
    """To ask would load a module; where nobody listens there are no states. Where nobody answers it is not known."""
    del netns
    monkeypatch.setattr(ipsec, "NETLINK_XFRM", 22)  # in use by nothing
    assert ipsec.in_use() is False
    monkeypatch.setattr(ipsec, "_is_there", lambda: True)
    assert ipsec.in_use() is None
