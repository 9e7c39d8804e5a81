from geodrop.state.names import INTERFACE, LONGEST, MAX_NAMES, storable


def test_what_can_be_stored() -> None:
    """Names that an intent can be read with again; any other makes all of them unknown, and never a damaged intent."""
    assert storable(["eth*", "!eth1", "a" * 127]) == ("eth*", "!eth1", "a" * 127)
    assert storable([]) == ()
    assert storable(["eth0"] * MAX_NAMES) == ("eth0",) * MAX_NAMES
    assert storable(["eth0"] * (MAX_NAMES + 1)) is None
    for name in ("", "a b", "a/b", "a:b", "a\n", "a" * 128):
        assert storable(["eth0", name]) is None


def test_the_form_is_as_long_as_it_says() -> None:
    """The bound of a stored text is that of the form."""
    assert INTERFACE.fullmatch("!" + "a" * (LONGEST - 1))
    assert not INTERFACE.fullmatch("!" + "a" * LONGEST)
