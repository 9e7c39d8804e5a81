# SPDX-License-Identifier: Apache-2.0
"""The kernel's map of longest prefixes, read and written by its keys."""

from __future__ import annotations

import pytest

from geodrop.linux import libbpf, lpm_trie
from tests.support.namespaces import require


@pytest.fixture(autouse=True)
def kernel() -> None:
    """Skip where the kernel cannot be tested; in CI that is a failure."""
    require()


def test_what_was_put_is_read() -> None:
    """Values are found by length and data of their prefix; putting again replaces, removing twice is no failure."""
    with libbpf.closing(lpm_trie.create("t", 4, 8, 16)) as fd:
        assert lpm_trie.items(fd) == {}
        lpm_trie.put(fd, 16, b"\x01\x02\0\0", b"a" * 8)
        lpm_trie.put(fd, 32, b"\x01\x02\x03\x04", b"b" * 8)
        lpm_trie.put(fd, 16, b"\x01\x02\0\0", b"c" * 8)
        assert lpm_trie.items(fd) == {(16, b"\x01\x02\0\0"): b"c" * 8, (32, b"\x01\x02\x03\x04"): b"b" * 8}
        for _ in range(2):
            lpm_trie.remove(fd, 16, b"\x01\x02\0\0")
        assert lpm_trie.items(fd) == {(32, b"\x01\x02\x03\x04"): b"b" * 8}


def test_a_full_map_says_so() -> None:
    """The kernel's own error, and what is there stays."""
    with libbpf.closing(lpm_trie.create("t", 4, 8, 2)) as fd:
        for number in range(2):
            lpm_trie.put(fd, 32, bytes([1, 2, 3, number]), b"x" * 8)
        with pytest.raises(OSError, match="bpf_map_update_elem"):
            lpm_trie.put(fd, 32, bytes([9, 9, 9, 9]), b"x" * 8)
        assert len(lpm_trie.items(fd)) == 2
