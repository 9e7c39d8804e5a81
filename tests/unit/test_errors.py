from geodrop import errors

CONTRACT = {
    "GeodropError": 1,
    "ProblemsError": 1,
    "ApplyError": 1,
    "UsageError": 2,
    "NotEnforcingError": 3,
    "DataError": 65,
    "ListError": 65,
    "UnavailableError": 69,
    "BusyError": 75,
    "PrivilegeError": 77,
    "ConfigError": 78,
    "ConfigFileError": 78,
    "PolicyError": 78,
}


def test_exit_codes_are_the_contract() -> None:
    """Scripts depend on the codes: each class has the one that docs/design.md promises, and there is no other class."""
    found = {
        name: value.exit_code
        for name, value in vars(errors).items()
        if isinstance(value, type) and issubclass(value, errors.GeodropError)
    }
    assert found == CONTRACT
    assert errors.EXIT_BUG == 70


def test_next_step_is_part_of_the_text() -> None:
    """What to do next follows what is wrong."""
    assert str(errors.DataError("f: cut off", "copy it again")) == "f: cut off; copy it again"
    assert str(errors.DataError("f: cut off")) == "f: cut off"
