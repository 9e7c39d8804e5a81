"""Pinned links: the program on interfaces, native first, then generic. Programs of others are never touched."""

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
    """A pinned link: on which interface (number, name), and running which program."""

    ifindex: int
    name: str
    program: int

    def mode(self) -> str:
        """How it is attached; native, if the interface is gone just now."""
        with Excused(errno.ENODEV, errno.ENXIO):
            if libbpf.query(self.ifindex).skb_prog_id:
                return "generic"
        return "native"


def observe(pins: Pins) -> list[PinnedLink]:
    """Links that hold: those whose interface is gone are left out."""
    links = []
    for ifindex in pins.link_indexes():
        try:
            with libbpf.opened(pins.links / str(ifindex)) as fd:
                info = libbpf.link_info(fd)
        except FileNotFoundError:  # taken away just now
            continue
        if info.ifindex != ifindex:
            continue
        try:
            name = socket.if_indextoname(ifindex)
        except OSError as error:
            if error.errno in (errno.ENODEV, errno.ENXIO):  # gone just now
                continue
            raise
        links.append(PinnedLink(ifindex, name, info.prog_id))
    return links


def attach(pins: Pins, program: int, name: str, *, modes: tuple[str, ...] = ("native", "generic")) -> int:
    """Attach a program to an interface and pin the link; returns the interface's number.

    Raises UnavailableError when the interface already has somebody else's program, takes none or is not there.
    """
    try:
        ifindex = socket.if_nametoindex(name)
    except OSError as error:
        raise UnavailableError(f"interface {name} is not there", "name another with --interface") from error
    path = pins.links / str(ifindex)
    with suppress(FileNotFoundError):
        path.unlink()  # of an interface that is gone and whose number was given out again
    refused = []
    for mode in modes:
        try:
            fd = libbpf.create_link(program, ifindex, MODES[mode])
        except OSError as error:
            # Busy may also mean a queue or a bond in the way: only a program that is there is somebody else's.
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
                raise  # to be slower from now on is no answer to that
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
    """Put another program in the place of a link's, if its interface is still there."""
    with libbpf.opened(pins.links / str(ifindex)) as fd, Excused(errno.ENOLINK):
        libbpf.update_link(fd, program)


def detach(pins: Pins, ifindex: int) -> None:
    """Take the program off an interface; returns when no packet meets it any more.

    Without the call the link would go with its pin too, but in a work queue, some time later.
    """
    path = pins.links / str(ifindex)
    with suppress(FileNotFoundError):
        with libbpf.opened(path) as fd:
            libbpf.detach_link(fd)
        path.unlink()


def program_on(ifindex: int) -> int:
    """The number of the XDP program that an interface has, whoever attached it and however; 0 if none.

    Raises OSError where that cannot be told.
    """
    with Excused(errno.ENODEV, errno.ENXIO):
        found = libbpf.query(ifindex)
        return int(found.prog_id or found.drv_prog_id or found.skb_prog_id or found.hw_prog_id)
    return 0


def _mtu(ifindex: int) -> str:
    """The MTU of an interface for a message, ", MTU 1500,"; empty if it cannot be told."""
    with suppress(UnavailableError):
        return next((f", MTU {link.mtu}," for link in read_network().links if link.index == ifindex), "")
    return ""
