# SPDX-License-Identifier: Apache-2.0
"""Options that several verbs have."""

import argparse

from geodrop.cli.options import add_databases


def test_databases() -> None:
    """Any number of databases, none by default; the help says what they are."""
    parser = argparse.ArgumentParser()
    add_databases(parser, "with --policy: a GeoIP database")
    assert parser.parse_args([]).database == []
    assert parser.parse_args(["--database", "a.mmdb", "--database", "b.mmdb"]).database == ["a.mmdb", "b.mmdb"]
    assert "with --policy: a GeoIP database; may be repeated" in " ".join(parser.format_help().split())
