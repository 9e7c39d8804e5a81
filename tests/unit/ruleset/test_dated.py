# SPDX-License-Identifier: Apache-2.0
from dataclasses import replace

from geodrop.ruleset import container
from geodrop.ruleset.dated import dated
from geodrop.ruleset.model import Ruleset
from tests.unit.ruleset.test_model import META, pack


def opened(content: bytes) -> container.Container:
    """Open a file held in memory."""
    return container.unpack(content, "file")


def test_only_the_date_is_added() -> None:
    """The rest is read as before; the digest is another one, and covers the date."""
    plain = pack()
    made = Ruleset.unpack(dated(opened(plain), 1_700_000_000), "file")
    assert made.meta == replace(META, compiled=1_700_000_000)
    assert made.sections == opened(plain).sections
    assert made.digest != container.digest_of(plain)


def test_a_ruleset_without_a_date_has_the_bytes_that_it_always_had() -> None:
    """A compile that is not signed gives the same bytes at any time."""
    assert b"compiled" not in pack()


def test_the_earlier_date_stays_where_nothing_else_differs() -> None:
    """The same inputs, signed again, give the same file. Whatever else differs makes a new date."""
    before = opened(dated(opened(pack()), 5))
    assert dated(opened(pack()), 9, before) == dated(opened(pack()), 5)
    assert dated(before, 9, before) == dated(opened(pack()), 5)
    assert dated(opened(pack()), 3, before) == dated(opened(pack()), 3), "the clock was wrong then"
    other = pack(replace(META, policy="other"))
    assert Ruleset.unpack(dated(opened(other), 9, before), "file").meta.compiled == 9
    moved = pack(META, ipv4__zones=bytes(6))
    assert Ruleset.unpack(dated(opened(moved), 9, before), "file").meta.compiled == 9
    assert Ruleset.unpack(dated(opened(pack()), 9, opened(pack())), "file").meta.compiled == 9
