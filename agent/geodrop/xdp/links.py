# SPDX-License-Identifier: Apache-2.0
"""Pinned links: the program on interfaces, native first, then generic. Foreign programs are never touched."""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from geodrop.errors import Excused, PrivilegeError, UnavailableError
from geodrop.linux import libbpf
from geodrop.linux.network import read_network

if TYPE_CHECKING:
    from geodrop.xdp.pins import Pins

MODES = {"native": libbpf.NATIVE, "generic": libbpf.GENERIC}


@dataclass(frozen=True, slots=True)
class PinnedLink:
    """A pinned link: the interface's number and name, and the number of the program that it runs."""

    ifindex: int
    name: str
    program: int

    def mode(self) -> str:
        """Return how the program is attached: native or generic; native if the interface has just gone."""
        with Excused(errno.ENODEV, errno.ENXIO):
            if libbpf.query(self.ifindex).skb_prog_id:
                return "generic"
        return "native"


def observe(pins: Pins) -> list[PinnedLink]:
    """Return the links that hold; a link without its interface is left out."""
    links = []
    for ifindex in pins.link_indexes():
        try:
            with libbpf.opened(pins.links / str(ifindex)) as fd:
                info = libbpf.link_info(fd)
        except FileNotFoundError:  # removed in the meantime
            continue
        if info.ifindex != ifindex:
            continue
        try:
            name = socket.if_indextoname(ifindex)
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO):  # gone in the meantime
                continue
            raise
        links.append(PinnedLink(ifindex, name, info.prog_id))
    return links


def attach(pins: Pins, program: int, name: str, *, modes: tuple[str, ...] = ("native", "generic")) -> int:
    """Attach a program to an interface and pin the link; return the interface's number.

    Raises UnavailableError if the interface has a foreign XDP program, takes none or does not exist; PrivilegeError.
    """
    try:
        ifindex = socket.if_nametoindex(name)
    except OSError as error:
        raise UnavailableError(f"interface {name} is not there", "name another with --interface") from error
    path = pins.links / str(ifindex)
    with suppress(FileNotFoundError):
        path.unlink()  # left by an interface that is gone and whose number was reused
    refused = []
    for mode in modes:
        try:
            fd = libbpf.create_link(program, ifindex, MODES[mode])
        except OSError as error:
            # Busy may also mean a queue or a bond: only if a program is attached, it is a foreign one.
            if error.errno in (errno.EBUSY, errno.EEXIST) and (number := program_on(ifindex)):
                raise UnavailableError(
                    f"{name} has an XDP program that is not geodrop's (number {number}); it was left alone",
                    "remove it, or use --engine nftables",
                ) from error
            if error.errno == errno.EPERM:
                raise PrivilegeError(
                    f"the kernel does not let us attach an XDP program to {name}", "run as root, or with CAP_NET_ADMIN"
                ) from error
            if error.errno == errno.ENOMEM:
                raise  # lack of memory is no reason to attach in a slower mode
            refused.append(f"{mode}: {error.strerror}")
            continue
        with libbpf.closing(fd):
            libbpf.pin(fd, str(path))
        return ifindex
    raise UnavailableError(
        f"{name}{_mtu(ifindex)} takes no XDP program ({'; '.join(refused)})",
        "lower the MTU or switch offloads such as LRO off (the kernel's log may say which), or use --engine nftables",
    )


def move(pins: Pins, ifindex: int, program: int) -> None:
    """Replace the program that a link runs, if its interface still exists."""
    with libbpf.opened(pins.links / str(ifindex)) as fd, Excused(errno.ENOLINK):
        libbpf.update_link(fd, program)


def detach(pins: Pins, ifindex: int) -> None:
    """Take the program off an interface; returns when no packet meets it any more.

    Removing the pin alone would end the link too, but later, in a kernel work queue.
    """
    path = pins.links / str(ifindex)
    with suppress(FileNotFoundError):
        with libbpf.opened(path) as fd:
            libbpf.detach_link(fd)
        path.unlink()


def program_on(ifindex: int) -> int:
    """Return the number of the XDP program on an interface, ours or not, in any mode; 0 if there is none.

    Raises OSError if the kernel does not tell.
    """
    with Excused(errno.ENODEV, errno.ENXIO):
        found = libbpf.query(ifindex)
        return int(found.prog_id or found.drv_prog_id or found.skb_prog_id or found.hw_prog_id)
    return 0


def _mtu(ifindex: int) -> str:
    """Return an interface's MTU for a message, such as ", MTU 1500,"; empty if it cannot be read."""
    with suppress(UnavailableError):
        return next((f", MTU {link.mtu}," for link in read_network().links if link.index == ifindex), "")
    return ""
