# SPDX-License-Identifier: Apache-2.0
"""Keys with their meanings, as the reference lists them."""

from geodrop.document.keys import Key, paths

KEYS = {
    "version": Key("1"),
    "services": Key("some", {"match": Key("what", {"ports": Key("where")})}, named=True),
}


def test_paths_are_the_places_in_the_file() -> None:
    """Parents come first, and a name that the operator chooses is NAME."""
    assert list(paths(KEYS)) == [
        ("version", "1"),
        ("services.NAME", "some"),
        ("services.NAME.match", "what"),
        ("services.NAME.match.ports", "where"),
    ]
