# SPDX-License-Identifier: Apache-2.0
"""Describe each selected interface, without attaching anything to it."""

from __future__ import annotations

import array
import fcntl
import socket
import struct
from typing import TYPE_CHECKING

from geodrop.dataplane.both import BothEngines
from geodrop.doctor.finding import MISSING, NOTE, OK, Finding
from geodrop.engine.interfaces import select
from geodrop.linux.network import VRF
from geodrop.xdp.requirements import unreadable

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from geodrop.engine.interfaces import Selection
    from geodrop.linux.network import Link

SIOCETHTOOL = 0x8946  # linux/sockios.h
ETHTOOL_GDRVINFO = 3  # linux/ethtool.h
SINGLE_BUFFER = 3498
"""The largest MTU for which a frame with its headroom fits a page of 4 KB on common drivers. Above it native XDP needs
xdp.frags."""

NATIVE = frozenset(
    {"veth", "virtio_net", "tun", "ixgbe", "ixgbevf", "i40e", "iavf", "ice", "igb", "igc", "mlx4_en", "mlx5_core"}
    | {"ena", "bnxt_en", "nfp", "qede", "sfc", "hv_netvsc", "gve", "mvneta", "mvpp2", "stmmac", "bonding", "vmxnet3"}
    | {"fsl_dpaa2_eth", "fsl-enetc", "thunder-nic", "netvsc", "mana", "tsnep", "cpsw", "xen-netfront", "vif"}
)
"""Drivers that have a native hook (ndo_bpf) in current kernels; in an old kernel they may lack it."""


def findings(wanted: Sequence[str]) -> Iterator[Finding]:
    """Yield the lack of any selected interface, absent interfaces, IPsec, then one finding per present interface."""
    selection = select(wanted)
    if not selection.names:
        step = "name some with `interfaces` in agent.yaml, or --interface"
        cost = "there is nothing to judge packets on"
        yield Finding("interfaces", MISSING, "none holds a default route", cost, step, ("nftables", "xdp"))
    for name in selection.absent:
        yield Finding(f"interface {name}", NOTE, "not there now", "judged once it comes", "see: ip link")
    if selection.ipsec:
        cost = "xdp never sees packets inside ESP: auto takes nftables, everywhere"
        yield Finding(
            "interfaces: IPsec", NOTE, "in use: the kernel holds states", cost, "leave engine at auto or nftables"
        )
    xdp = BothEngines.here().xdp
    ours = set(xdp.attached()) if xdp else set()
    for link in selection.present:
        yield _refused(link) or _port(link, selection) or _interface(link, ours)


def _refused(link: Link) -> Finding | None:
    error = unreadable(link)
    if error is None:
        return None
    return Finding(f"interface {link.name}", NOTE, error.message, "auto takes nftables here, xdp is refused")


def _port(link: Link, selection: Selection) -> Finding | None:
    """Return a note for a port whose bridge or bond is not selected; None otherwise."""
    master = next((one for one in selection.links if one.index == link.master and one.kind != VRF), None)
    if master is None or master in selection.present:
        return None
    found = f"a port of {master.name} ({master.kind}), where nftables meets its packets"
    return Finding(f"interface {link.name}", NOTE, found, "only xdp judges it", f"name {master.name} in `interfaces`")


def _interface(link: Link, ours: set[int]) -> Finding:
    name = link.name
    known = driver(name)
    native = "native xdp likely" if known in NATIVE else "native xdp not known, generic xdp works on any"
    if link.mtu > SINGLE_BUFFER:
        native += ", with xdp.frags" if known in NATIVE else ""
    found = f"driver {known or 'unknown'}, MTU {link.mtu}, {native}"
    if link.program and link.index not in ours:
        cost = "xdp cannot be attached beside it; auto takes nftables here"
        step = "leave it, or find its owner with: bpftool net; bpftool prog show id " + str(link.program)
        return Finding(f"interface {name}", NOTE, f"{found}; program {link.program} is not geodrop's", cost, step)
    return Finding(f"interface {name}", OK, f"{found}{'; geodrop is attached' if link.index in ours else ''}")


def driver(name: str) -> str:
    """Return an interface's driver as ethtool reports it; empty if it reports none."""
    answer = array.array("B", struct.pack("I", ETHTOOL_GDRVINFO) + bytes(192))
    address, _ = answer.buffer_info()
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as asker:
        try:
            fcntl.ioctl(asker, SIOCETHTOOL, struct.pack("16sP", name.encode(), address))
        except OSError:
            return ""
    return answer.tobytes()[4:36].rstrip(b"\0").decode("ascii", "replace")
