# SPDX-License-Identifier: Apache-2.0
"""The few libbpf calls that the engine needs, through ctypes. Every failure is an OSError with the kernel's errno.

libbpf 1.1 (Debian 12) is enough. Layouts: /usr/include/bpf/bpf.h and linux/bpf.h.
"""

from __future__ import annotations

import ctypes
import functools
import mmap
import os
from contextlib import ExitStack, contextmanager
from ctypes import POINTER, Structure, byref, c_char_p, c_int, c_size_t, c_uint8, c_uint32, c_uint64, c_void_p, sizeof
from typing import TYPE_CHECKING, Any, Self, TypeVar

from geodrop.errors import UnavailableError
from geodrop.linux.libc import LIBC
from geodrop.linux.owner import adopt

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

ARRAY, PERCPU_ARRAY, ARRAY_OF_MAPS = 2, 6, 12  # enum bpf_map_type
ATTACH_XDP = 37  # enum bpf_attach_type
PROGRAM_XDP = 6  # enum bpf_prog_type
HELPER_TAI = 208  # bpf_ktime_get_tai_ns, Linux 6.1
MMAPABLE = 1 << 10  # BPF_F_MMAPABLE
HAS_FRAGS = 1 << 5  # BPF_F_XDP_HAS_FRAGS, Linux 5.18
INSTRUCTION_BYTES = 8  # struct bpf_insn
LOG_BYTES = 1 << 20
MEMBARRIER = {"x86_64": 324, "aarch64": 283}
MEMBARRIER_GLOBAL = 1  # synchronize_rcu in kernel/sched/membarrier.c
GENERIC, NATIVE = 1 << 1, 1 << 2  # XDP_FLAGS_SKB_MODE, XDP_FLAGS_DRV_MODE


class MapOptions(Structure):
    """struct bpf_map_create_opts."""

    _fields_ = (
        ("size", c_size_t),
        ("types", c_uint32 * 4),
        ("inner_map_fd", c_uint32),
        ("map_flags", c_uint32),
        ("map_extra", c_uint64),
        ("numa_node", c_uint32),
        ("map_ifindex", c_uint32),
    )


class ProgramOptions(Structure):
    """struct bpf_prog_load_opts."""

    _fields_ = (
        ("size", c_size_t),
        ("attempts", c_int),
        ("expected_attach_type", c_uint32),
        ("prog_btf_fd", c_uint32),
        ("prog_flags", c_uint32),
        ("prog_ifindex", c_uint32),
        ("kern_version", c_uint32),
        ("attach_btf_id", c_uint32),
        ("attach_prog_fd", c_uint32),
        ("attach_btf_obj_fd", c_uint32),
        ("fd_array", c_void_p),
        ("func_info", c_void_p),
        ("func_info_cnt", c_uint32),
        ("func_info_rec_size", c_uint32),
        ("line_info", c_void_p),
        ("line_info_cnt", c_uint32),
        ("line_info_rec_size", c_uint32),
        ("log_level", c_uint32),
        ("log_size", c_uint32),
        ("log_buf", c_void_p),
    )


class LinkOptions(Structure):
    """struct bpf_link_create_opts, with room for its union."""

    _fields_ = (
        ("size", c_size_t),
        ("flags", c_uint32),
        ("iter_info", c_void_p),
        ("iter_info_len", c_uint32),
        ("target_btf_id", c_uint32),
        ("rest", c_uint64 * 4),
    )


class LinkUpdateOptions(Structure):
    """struct bpf_link_update_opts."""

    _fields_ = (("size", c_size_t), ("flags", c_uint32), ("old_prog_fd", c_uint32))


class TestRunOptions(Structure):
    """struct bpf_test_run_opts."""

    __test__ = False  # pytest would take it for a test class because of its name

    _fields_ = (
        ("size", c_size_t),
        ("data_in", c_void_p),
        ("data_out", c_void_p),
        ("data_size_in", c_uint32),
        ("data_size_out", c_uint32),
        ("ctx_in", c_void_p),
        ("ctx_out", c_void_p),
        ("ctx_size_in", c_uint32),
        ("ctx_size_out", c_uint32),
        ("retval", c_uint32),
        ("repeat", c_int),
        ("duration", c_uint32),
        ("flags", c_uint32),
        ("cpu", c_uint32),
        ("batch_size", c_uint32),
    )


class Context(Structure):
    """struct xdp_md, as a test run takes it: `data` is the number of metadata bytes in front of the frame."""

    _fields_ = (
        ("data", c_uint32),
        ("data_end", c_uint32),
        ("data_meta", c_uint32),
        ("ingress_ifindex", c_uint32),
        ("rx_queue_index", c_uint32),
        ("egress_ifindex", c_uint32),
    )


class QueryOptions(Structure):
    """struct bpf_xdp_query_opts."""

    _fields_ = (
        ("size", c_size_t),
        ("prog_id", c_uint32),
        ("drv_prog_id", c_uint32),
        ("hw_prog_id", c_uint32),
        ("skb_prog_id", c_uint32),
        ("attach_mode", c_uint8),
    )


class MapInfo(Structure):
    """The first fields of struct bpf_map_info."""

    _fields_ = (
        ("type", c_uint32),
        ("id", c_uint32),
        ("key_size", c_uint32),
        ("value_size", c_uint32),
        ("max_entries", c_uint32),
        ("map_flags", c_uint32),
    )


class ProgramInfo(Structure):
    """The first fields of struct bpf_prog_info."""

    _fields_ = (("type", c_uint32), ("id", c_uint32), ("tag", c_uint8 * 8))


class LinkInfo(Structure):
    """The first fields of struct bpf_link_info; `ifindex` is 0 when the interface is gone."""

    _fields_ = (("type", c_uint32), ("id", c_uint32), ("prog_id", c_uint32), ("pad", c_uint32), ("ifindex", c_uint32))


SIGNATURES: dict[str, tuple[Any, tuple[Any, ...]]] = {
    "bpf_map_create": (c_int, (c_int, c_char_p, c_uint32, c_uint32, c_uint32, c_void_p)),
    "bpf_map_lookup_elem": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_map_update_elem": (c_int, (c_int, c_void_p, c_void_p, c_uint64)),
    "bpf_map_delete_elem": (c_int, (c_int, c_void_p)),
    "bpf_map_get_next_key": (c_int, (c_int, c_void_p, c_void_p)),
    "bpf_prog_load": (c_int, (c_int, c_char_p, c_char_p, c_char_p, c_size_t, c_void_p)),
    "bpf_obj_pin": (c_int, (c_int, c_char_p)),
    "bpf_obj_get": (c_int, (c_char_p,)),
    "bpf_obj_get_info_by_fd": (c_int, (c_int, c_void_p, POINTER(c_uint32))),
    "bpf_link_create": (c_int, (c_int, c_int, c_int, c_void_p)),
    "bpf_link_detach": (c_int, (c_int,)),
    "bpf_link_update": (c_int, (c_int, c_int, c_void_p)),
    "bpf_prog_test_run_opts": (c_int, (c_int, c_void_p)),
    "bpf_xdp_query": (c_int, (c_int, c_int, c_void_p)),
    "bpf_object__open_file": (c_void_p, (c_char_p, c_void_p)),
    "bpf_object__load": (c_int, (c_void_p,)),
    "bpf_object__close": (None, (c_void_p,)),
    "bpf_object__find_map_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_object__find_program_by_name": (c_void_p, (c_void_p, c_char_p)),
    "bpf_map__reuse_fd": (c_int, (c_void_p, c_int)),
    "bpf_program__fd": (c_int, (c_void_p,)),
    "bpf_program__set_flags": (c_int, (c_void_p, c_uint32)),
    "libbpf_num_possible_cpus": (c_int, ()),
    "libbpf_probe_bpf_helper": (c_int, (c_int, c_int, c_void_p)),
    "libbpf_set_print": (c_void_p, (c_void_p,)),
}


@functools.cache
def library() -> ctypes.CDLL:
    """Load libbpf once and type its calls. Raises UnavailableError if it is not installed."""
    try:
        loaded = ctypes.CDLL("libbpf.so.1", use_errno=True)
    except OSError as error:
        raise UnavailableError(
            f"xdp not installed: libbpf 1.x cannot be loaded ({error})", "install it (Debian: libbpf1)"
        ) from error
    for name, (result, arguments) in SIGNATURES.items():
        function = getattr(loaded, name)
        function.restype, function.argtypes = result, arguments
    return loaded


def call(name: str, *arguments: Any) -> int:  # noqa: ANN401 - whatever the C function takes
    """Call a libbpf function and return its result; raises OSError if that is negative.

    libbpf 1.x returns -errno and sets errno.
    """
    result = int(getattr(library(), name)(*arguments))
    if result < 0:
        number = ctypes.get_errno() or -result
        raise OSError(number, os.strerror(number), name)
    return result


_Info = TypeVar("_Info", MapInfo, ProgramInfo, LinkInfo)


class Log:
    """Collects what libbpf prints inside the `with` block: the verifier's log when it refuses a program."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    def __enter__(self) -> Self:
        kind = ctypes.CFUNCTYPE(c_int, c_int, c_char_p, c_void_p)

        # A verifier's log comes as one line of up to 16 MB; its end is what matters.
        room = mmap.mmap(-1, 32 << 20)
        start = ctypes.addressof(c_uint8.from_buffer(room))

        def keep(_level: int, template: bytes, arguments: int) -> int:
            LIBC.vsnprintf(c_void_p(start), c_size_t(len(room)), template, c_void_p(arguments))
            self.lines.append(ctypes.string_at(start).decode(errors="replace").rstrip())
            return 0

        self._callback: Callable[..., int] = kind(keep)
        self._before = library().libbpf_set_print(self._callback)
        return self

    def __exit__(self, *_: object) -> None:
        library().libbpf_set_print(self._before)


def create_map(kind: int, name: str, value_bytes: int, entries: int, inner: int = 0) -> int:
    """Create a map and return its descriptor.

    For a map of maps, `inner` is the descriptor of a map of the shape that the map will hold.
    """
    return _create_map(kind, name, value_bytes, entries, MapOptions(size=sizeof(MapOptions), inner_map_fd=inner))


def create_array(name: str, value_bytes: int, entries: int) -> int:
    """Create an array whose values can be mapped as memory (BPF_F_MMAPABLE); return its descriptor."""
    return _create_map(ARRAY, name, value_bytes, entries, MapOptions(size=sizeof(MapOptions), map_flags=MMAPABLE))


def load_program(name: str, instructions: bytes, *, flags: int, log: list[str]) -> int:
    """Load an XDP program and return its descriptor. If the verifier refuses it, its log lines are added to `log`.

    The attach type is the one that libbpf uses for the prebuilt object: a link refuses a program of another attach
    type.
    """
    words = ctypes.create_string_buffer(LOG_BYTES)
    options = ProgramOptions(
        size=sizeof(ProgramOptions), expected_attach_type=ATTACH_XDP, prog_flags=flags, log_size=LOG_BYTES
    )
    options.log_buf = ctypes.addressof(words)
    count = len(instructions) // INSTRUCTION_BYTES
    try:
        return call("bpf_prog_load", PROGRAM_XDP, name.encode(), b"GPL", instructions, count, byref(options))
    finally:
        log += words.value.decode(errors="replace").splitlines()


def map_memory(fd: int, size: int, *, writable: bool = True) -> mmap.mmap:
    """Map an array's values as shared memory; `size` is in bytes."""
    access = mmap.PROT_READ | (mmap.PROT_WRITE if writable else 0)
    return mmap.mmap(fd, size, mmap.MAP_SHARED, access)


def read_element(fd: int, key: int, size: int) -> bytes:
    """Return one value of an array, `size` bytes; for a map of maps this is the inner map's id."""
    value = ctypes.create_string_buffer(size)
    call("bpf_map_lookup_elem", fd, byref(c_uint32(key)), value)
    return value.raw


def write_element(fd: int, key: int, value: bytes) -> None:
    """Set one value of an array. For a map of maps `value` is the inner map's descriptor, in host byte order.

    On a map of maps this waits for a grace period.
    """
    call("bpf_map_update_elem", fd, byref(c_uint32(key)), value, 0)


def delete_element(fd: int, key: int) -> None:
    """Empty one slot of a map of maps. Returns after a grace period: no packet still reads the removed inner map."""
    call("bpf_map_delete_elem", fd, byref(c_uint32(key)))


def pin(fd: int, path: str) -> None:
    """Pin an object at a path in a bpffs, and give the file to the owner of its folder."""
    call("bpf_obj_pin", fd, path.encode())
    adopt(path, os.path.dirname(path))


def get(path: str) -> int:
    """Open a pinned object and return its descriptor."""
    return call("bpf_obj_get", path.encode())


@contextmanager
def closing(fd: int) -> Iterator[int]:
    """Close a descriptor at the end of the `with` block."""
    try:
        yield fd
    finally:
        os.close(fd)


@contextmanager
def opened(path: str | os.PathLike[str]) -> Iterator[int]:
    """Open a pinned object for the `with` block; raises FileNotFoundError if it does not exist."""
    with closing(get(os.fspath(path))) as fd:
        yield fd


def map_info(fd: int) -> MapInfo:
    """Return the kernel's description of a map."""
    return _info(fd, MapInfo())


def program_info(fd: int) -> ProgramInfo:
    """Return the kernel's description of a program."""
    return _info(fd, ProgramInfo())


def link_info(fd: int) -> LinkInfo:
    """Return the kernel's description of a link."""
    return _info(fd, LinkInfo())


def create_link(program: int, ifindex: int, flags: int) -> int:
    """Attach a program to an interface and return the link's descriptor. `flags` is GENERIC, NATIVE or 0."""
    options = LinkOptions(size=sizeof(LinkOptions), flags=flags)
    return call("bpf_link_create", program, ifindex, ATTACH_XDP, byref(options))


def update_link(link: int, program: int) -> None:
    """Replace the program of a link atomically: no packet passes unjudged in between."""
    call("bpf_link_update", link, program, byref(LinkUpdateOptions(size=sizeof(LinkUpdateOptions))))


def detach_link(link: int) -> None:
    """Detach a link's program from its interface at once. The link stays, defunct.

    This works as well when the interface is gone.
    """
    call("bpf_link_detach", link)


def query(ifindex: int) -> QueryOptions:
    """Return the ids of the XDP programs on an interface, by attach mode."""
    options = QueryOptions(size=sizeof(QueryOptions))
    call("bpf_xdp_query", ifindex, 0, byref(options))
    return options


def run_program(program: int, frame: bytes, *, repeat: int = 1) -> tuple[int, bytes, int]:
    """Run a program on a frame. Return its verdict, the frame after the run, and the nanoseconds per run."""
    given = ctypes.create_string_buffer(frame, len(frame))
    left = ctypes.create_string_buffer(len(frame))
    options = TestRunOptions(size=sizeof(TestRunOptions), repeat=repeat)
    options.data_in, options.data_size_in = ctypes.addressof(given), len(frame)
    options.data_out, options.data_size_out = ctypes.addressof(left), len(frame)
    call("bpf_prog_test_run_opts", program, byref(options))
    return options.retval, left.raw[: options.data_size_out], options.duration


def run_with_metadata(program: int, metadata: bytes, frame: bytes) -> int:
    """Run a program on a frame with metadata in front of it and return its verdict. Needs Linux 5.15.

    The length of `metadata` must be a multiple of four bytes.
    """
    given = ctypes.create_string_buffer(metadata + frame, len(metadata) + len(frame))
    context = Context(data=len(metadata), data_end=len(given))
    options = TestRunOptions(size=sizeof(TestRunOptions), repeat=1)
    options.data_in, options.data_size_in = ctypes.addressof(given), len(given)
    options.ctx_in, options.ctx_size_in = ctypes.addressof(context), sizeof(context)
    call("bpf_prog_test_run_opts", program, byref(options))
    return int(options.retval)


def wait_for_readers() -> None:
    """Return once every BPF program that was running at the call has ended.

    membarrier's global form waits for the kernel's grace period. A kernel booted with nohz_full= refuses that form
    (EINVAL), and a system call filter may refuse it (EPERM). Then a slot of a map of maps is set by system call: that
    waits for the same grace period, and interrupts no isolated CPU.
    """
    if LIBC.syscall(MEMBARRIER[os.uname().machine], MEMBARRIER_GLOBAL, 0, 0) == 0:
        return
    with ExitStack() as stack:
        inner = create_map(ARRAY, "geodrop_grace", 4, 1)
        stack.callback(os.close, inner)
        outer = create_map(ARRAY_OF_MAPS, "geodrop_grace", 4, 1, inner)
        stack.callback(os.close, outer)
        write_element(outer, 0, inner.to_bytes(4, "little"))


def possible_cpus() -> int:
    """Return the number of values that a per-CPU map has for each key."""
    return call("libbpf_num_possible_cpus")


@functools.cache
def has_tai_clock() -> bool:
    """Return whether programs can read CLOCK_TAI (bpf_ktime_get_tai_ns)."""
    return call("libbpf_probe_bpf_helper", PROGRAM_XDP, HELPER_TAI, None) == 1


def _info(fd: int, info: _Info) -> _Info:
    size = c_uint32(sizeof(info))
    call("bpf_obj_get_info_by_fd", fd, byref(info), byref(size))
    return info


def _create_map(kind: int, name: str, value_bytes: int, entries: int, options: MapOptions) -> int:
    return call("bpf_map_create", kind, name.encode(), 4, value_bytes, entries, byref(options))
