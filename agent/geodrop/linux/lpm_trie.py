# SPDX-License-Identifier: Apache-2.0
"""BPF maps that find the longest prefix of a key: BPF_MAP_TYPE_LPM_TRIE (Documentation/bpf/map_lpm_trie.rst).

A key is the length of the prefix in bits, in host byte order, followed by the data, in network byte order.
"""

from __future__ import annotations

import ctypes
import errno
from ctypes import byref, c_uint32, sizeof
from typing import TYPE_CHECKING

from geodrop.linux import libbpf

if TYPE_CHECKING:
    from collections.abc import Iterator

LPM_TRIE = 11  # enum bpf_map_type
NO_PREALLOC = 1  # BPF_F_NO_PREALLOC, without which the kernel makes no such map
_LENGTH = 4
_TRIES = 5


def create(name: str, data_bytes: int, value_bytes: int, entries: int) -> int:
    """Create a map for keys of `data_bytes` and return its descriptor. Raises OSError."""
    options = libbpf.MapOptions(size=sizeof(libbpf.MapOptions), map_flags=NO_PREALLOC)
    arguments = name.encode(), _LENGTH + data_bytes, value_bytes, entries, byref(options)
    return libbpf.call("bpf_map_create", LPM_TRIE, *arguments)


def items(fd: int) -> dict[tuple[int, bytes], bytes]:
    """Return all values by length and data of their prefix. Raises OSError.

    An element that is removed meanwhile makes the kernel begin again; then everything is read once more.
    """
    info = libbpf.map_info(fd)
    keys: list[bytes] = []
    for _ in range(_TRIES):
        keys = list(_keys(fd, info.key_size, info.max_entries))
        if len(set(keys)) == len(keys):
            break
    found = {}
    value = ctypes.create_string_buffer(info.value_size)
    for key in dict.fromkeys(keys):
        try:
            libbpf.call("bpf_map_lookup_elem", fd, key, value)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            continue
        found[int.from_bytes(key[:_LENGTH], "little"), key[_LENGTH:]] = value.raw
    return found


def put(fd: int, length: int, data: bytes, value: bytes) -> None:
    """Set the value of a prefix; packets see the old value or the new one. Raises OSError."""
    libbpf.call("bpf_map_update_elem", fd, _key(length, data), value, 0)


def remove(fd: int, length: int, data: bytes) -> None:
    """Remove a prefix if it is there. Raises OSError."""
    try:
        libbpf.call("bpf_map_delete_elem", fd, _key(length, data))
    except OSError as error:
        if error.errno != errno.ENOENT:
            raise


def _key(length: int, data: bytes) -> bytes:
    return bytes(c_uint32(length)) + data


def _keys(fd: int, size: int, limit: int) -> Iterator[bytes]:
    """Yield the keys; at most twice as many as the map can hold, should it change all the time."""
    key: bytes | None = None
    following = ctypes.create_string_buffer(size)
    for _ in range(2 * limit):
        try:
            libbpf.call("bpf_map_get_next_key", fd, key, following)
        except OSError as error:
            if error.errno != errno.ENOENT:
                raise
            return
        key = following.raw
        yield key
