# SPDX-License-Identifier: Apache-2.0
"""A packet generator made of the kernel's own parts: BPF_PROG_TEST_RUN in live-frames mode.

A small XDP program writes the next source address into a frame and redirects it out of one end of a veth pair; the
other end receives it like any other packet. No tool, no compiler: the program is a dozen instructions, assembled here.

Sources: struct bpf_insn and union bpf_attr in linux/bpf.h; Documentation/bpf/bpf_prog_run.rst.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import socket
import struct
import time
from ipaddress import IPv4Address, IPv6Address
from pathlib import Path
from typing import TYPE_CHECKING, Self

from tests.support.namespaces import mac_address

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from tests.support.namespaces import End

SYS_BPF = {"x86_64": 321, "aarch64": 280}[os.uname().machine]
MAP_CREATE, MAP_UPDATE, PROG_LOAD, PROG_TEST_RUN, LINK_CREATE = 0, 2, 5, 10, 28
MAP_TYPE_ARRAY, PROG_TYPE_XDP, ATTACH_XDP = 2, 6, 37
XDP_FLAGS_DRV_MODE = 4
TEST_XDP_LIVE_FRAMES = 2
SOURCES = 1 << 16
"""Number of source addresses that a generator picks from at random."""
VALUE = 16
"""Bytes of a map value: an IPv6 address; or an IPv4 header checksum, source address, and padding."""

R0, R1, R2, R3, R4, R6, R7, R10 = 0, 1, 2, 3, 4, 6, 7, 10
_libc = ctypes.CDLL(None, use_errno=True)


class Generator:
    """Sends frames from `source` to `sink`, TCP or UDP as the template says, from the given addresses."""

    def __init__(self, source: End, sink: End, addresses: Sequence[IPv4Address | IPv6Address], port: int) -> None:
        self._source = source
        ipv6 = addresses[0].version == 6
        mac = mac_address(sink)
        payload = struct.pack("!HHIIBBHHH", 40_000, port, 1, 0, 5 << 4, 0x02, 1024, 0, 0)  # a TCP SYN (RFC 9293)
        if ipv6:
            header = struct.pack("!IHBB16s16s", 6 << 28, len(payload), 6, 64, bytes(16), IPv6Address("2a00::1").packed)
        else:
            header = struct.pack(
                "!BBHHHBBH4s4s", 0x45, 0, 20 + len(payload), 0, 0, 64, 6, 0, bytes(4), IPv4Address("198.41.0.1").packed
            )
        self._frame = mac + mac_address(source) + (b"\x86\xdd" if ipv6 else b"\x08\x00") + header + payload
        values = [_value(header, addresses[i % len(addresses)]) for i in range(SOURCES)]
        with source.namespace.entered():
            self._map = _map_of(values)
            self._program = _load(_sender(self._map, _index(source), ipv6=ipv6))

    def send(self, count: int) -> float:
        """Send `count` frames; return the seconds of CPU time used, reception included.

        The kernel receives in the same thread, at the end of each batch. Time spent waiting for a busy processor does
        not count, so that figures of a busy machine can be compared.
        """
        frame = ctypes.create_string_buffer(self._frame, len(self._frame))
        attribute = struct.pack(
            "=IIIIQQIIIIQQIII4x",
            self._program, 0, len(self._frame), 0, ctypes.addressof(frame), 0,
            count, 0, 0, 0, 0, 0, TEST_XDP_LIVE_FRAMES, 0, 64,
        )  # fmt: skip
        # The kernel looks the interface up in the namespace of the caller.
        with self._source.namespace.entered():
            before = time.thread_time()
            _bpf(PROG_TEST_RUN, attribute)
            return time.thread_time() - before

    def close(self) -> None:
        """Free program and map."""
        os.close(self._program)
        os.close(self._map)


class Flood:
    """Run generators in turn, each its number of frames at a time, in a separate process until the block ends."""

    def __init__(self, turns: Sequence[tuple[Generator, int]], cpu: int | None = None) -> None:
        self._turns = turns
        self._cpu = cpu
        self.sent = 0
        self.seconds = 0.0

    def __enter__(self) -> Self:
        self._stop, stopped = os.pipe()[::-1]
        self._result, told = os.pipe()
        self._child = os.fork()
        if self._child == 0:
            with contextlib.suppress(BaseException):
                os.close(self._stop)
                os.write(told, struct.pack("=Qd", *self._send_until(stopped)))
            os._exit(0)
        os.close(stopped)
        os.close(told)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._stop)
        answer = os.read(self._result, 16)
        os.close(self._result)
        os.waitpid(self._child, 0)
        self.sent, self.seconds = struct.unpack("=Qd", answer)

    def _send_until(self, stopped: int) -> tuple[int, float]:
        """Send until the other end of a pipe is closed, as it is when its process dies."""
        if self._cpu is not None:
            os.sched_setaffinity(0, {self._cpu})
        os.set_blocking(stopped, False)
        sent, started = 0, time.monotonic()
        while True:
            for generator, count in self._turns:
                generator.send(count)
                sent += count
            with contextlib.suppress(BlockingIOError):
                if os.read(stopped, 1) == b"":
                    return sent, time.monotonic() - started


@contextlib.contextmanager
def receiving(end: End) -> Iterator[None]:
    """Let an end receive redirected frames: veth requires an XDP program there, so attach one that passes all."""
    with end.namespace.entered():
        program = _load(_move(R0, 2) + _exit())  # XDP_PASS
        link = _bpf(LINK_CREATE, struct.pack("=IIII", program, _index(end), ATTACH_XDP, XDP_FLAGS_DRV_MODE))
    try:
        yield
    finally:
        os.close(link)
        os.close(program)


def received(end: End) -> int:
    """Return the packets that an end has received: fewer than were sent if the receiver could not keep up."""
    with end.namespace.entered():
        lines = Path("/proc/thread-self/net/dev").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[2]) for line in lines if line.split()[0] == f"{end.name}:")


def _index(end: End) -> int:
    with end.namespace.entered():
        return socket.if_nametoindex(end.name)


def _value(header: bytes, address: IPv4Address | IPv6Address) -> bytes:
    if address.version == 6:
        return address.packed
    whole = header[:12] + address.packed + header[16:]
    total = sum(struct.unpack("!10H", whole))
    total = (total & 0xFFFF) + (total >> 16)
    checksum = ~((total & 0xFFFF) + (total >> 16)) & 0xFFFF
    return (struct.pack("!H", checksum) + address.packed).ljust(VALUE, b"\0")


def _sender(addresses: int, interface: int, *, ipv6: bool) -> bytes:
    """Return instructions: pick a random address, write it into the frame, redirect the frame to the interface."""
    # Ethernet is 14 bytes; in IPv4 the checksum is at 10, the source right behind it; the IPv6 source is at 8.
    at, copies = (22, [(4, i) for i in range(0, 16, 4)]) if ipv6 else (24, [(2, 0), (2, 2), (2, 4)])
    width = {2: 0x08, 4: 0x00}
    body = (
        _insn(0x61, R6, R1, 0)  # r6 = (u32) ctx->data
        + _insn(0x61, R7, R1, 4)  # r7 = (u32) ctx->data_end
        + _insn(0xBF, R2, R6)
        + _insn(0x07, R2, imm=54)  # at least Ethernet and an IPv6 header
    )
    picked = (
        _insn(0x85, imm=7)  # bpf_get_prandom_u32
        + _insn(0x57, R0, imm=SOURCES - 1)
        + _insn(0x63, R10, R0, -4)
        + _insn(0x18, R1, 1, imm=addresses)  # r1 = map, by descriptor
        + _insn(0)
        + _insn(0xBF, R2, R10)
        + _insn(0x07, R2, imm=-4)
        + _insn(0x85, imm=1)  # bpf_map_lookup_elem
    )
    copied = b"".join(
        _insn(0x61 | width[size], R3, R0, offset) + _insn(0x63 | width[size], R6, R3, at + offset)
        for size, offset in copies
    )
    sent = _move(R1, interface) + _move(R2, 0) + _insn(0x85, imm=23) + _exit()  # bpf_redirect
    aborted = _move(R0, 0) + _exit()  # XDP_ABORTED
    to_end = len(picked + copied + sent) // 8 + 1
    body += _insn(0x2D, R2, R7, to_end)  # if r2 > r7 goto aborted
    body += picked + _insn(0x15, R0, 0, len(copied + sent) // 8)  # if r0 == 0 goto aborted
    return body + copied + sent + aborted


def _insn(code: int, dst: int = 0, src: int = 0, off: int = 0, imm: int = 0) -> bytes:
    return struct.pack("=BBhi", code, src << 4 | dst, off, imm)


def _move(register: int, value: int) -> bytes:
    return _insn(0xB7, register, imm=value)


def _exit() -> bytes:
    return _insn(0x95)


def _map_of(values: Sequence[bytes]) -> int:
    made = _bpf(MAP_CREATE, struct.pack("=IIIII", MAP_TYPE_ARRAY, 4, VALUE, len(values), 0))
    for number, value in enumerate(values):
        key = ctypes.create_string_buffer(struct.pack("=I", number), 4)
        data = ctypes.create_string_buffer(value, VALUE)
        _bpf(MAP_UPDATE, struct.pack("=IIQQQ", made, 0, ctypes.addressof(key), ctypes.addressof(data), 0))
    return made


def _load(instructions: bytes) -> int:
    code = ctypes.create_string_buffer(instructions, len(instructions))
    licence = ctypes.create_string_buffer(b"GPL")
    log = ctypes.create_string_buffer(1 << 16)
    attribute = struct.pack(
        "=IIQQIIQ", PROG_TYPE_XDP, len(instructions) // 8, ctypes.addressof(code), ctypes.addressof(licence),
        1, len(log), ctypes.addressof(log),
    )  # fmt: skip
    try:
        return _bpf(PROG_LOAD, attribute)
    except OSError as error:
        raise RuntimeError(f"verifier: {log.value.decode()}") from error


def _bpf(command: int, attribute: bytes) -> int:
    buffer = ctypes.create_string_buffer(attribute, len(attribute))
    result = int(_libc.syscall(SYS_BPF, command, buffer, len(attribute)))
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), f"bpf command {command}")
    return result
