# SPDX-License-Identifier: Apache-2.0
from geodrop.state.names import INTERFACE, LONGEST, MAX_NAMES, storable


def test_what_can_be_stored() -> None:
    """Only names that can be read back are stored; any other makes all of them unknown, not the intent damaged."""
    assert storable(["eth*", "!eth1", "a" * 127]) == ("eth*", "!eth1", "a" * 127)
    assert storable([]) == ()
    assert storable(["eth0"] * MAX_NAMES) == ("eth0",) * MAX_NAMES
    assert storable(["eth0"] * (MAX_NAMES + 1)) is None
    for name in ("", "a b", "a/b", "a:b", "a\n", "a" * 128):
        assert storable(["eth0", name]) is None


def test_the_form_is_as_long_as_it_says() -> None:
    """The length limit of a stored name is that of its pattern."""
    assert INTERFACE.fullmatch("!" + "a" * (LONGEST - 1))
    assert not INTERFACE.fullmatch("!" + "a" * LONGEST)
