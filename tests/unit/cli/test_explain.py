import json
from pathlib import Path

import pytest

from tests.cli import Geodrop
from tests.databases import city, country, write_database

POLICY = """
version: 1
services:
  api: {default: allow, unknown: allow, deny: [CN, UA-43], starts: 2030-01-01T00:00:00Z}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Geodrop, list[str], str]:
    """A command line, the policy form's options, and the same as a ruleset."""
    records = {"1.0.0.0/24": country("CN"), "2.0.0.0/16": city("UA", "43"), "2400::/24": country("CN")}
    database = write_database(tmp_path / "city.mmdb", records)
    geodrop = Geodrop(tmp_path)
    ruleset = geodrop.compile(POLICY, database)
    return geodrop, ["--policy", str(tmp_path / "test.yaml"), "--database", str(database)], str(ruleset)


def test_both_offline_forms_agree(files: tuple[Geodrop, list[str], str]) -> None:
    """From databases and from the ruleset: same verdicts, rungs and order; only the former shows records."""
    geodrop, options, ruleset = files
    addresses = "1.0.0.1\n2.0.0.1\n9.9.9.9\n2400::1\n1.0.0.1\n10.0.0.1\n2002:100:1::\n"
    full = geodrop.good("explain", *options, "--json", "-", stdin=addresses).json_lines
    short = geodrop.good("explain", "--ruleset", ruleset, "--json", "-", stdin=addresses).json_lines
    assert [answer["address"] for answer in full] == addresses.split()
    assert [answer["rung"] for answer in full] == [
        "country", "subdivision", "unknown", "country", "country", "special", "country",
    ]  # fmt: skip
    shared = ("address", "service", "zone", "rung", "line", "verdict", "would_drop", "embedded")
    assert [[answer[key] for key in shared] for answer in full] == [[a[key] for key in shared] for a in short]
    assert full[1]["record"] == city("UA", "43")
    assert [answer["region"] for answer in full] == ["CN", "UA-43", "unknown", "CN", "CN", "unknown", "CN"]


@pytest.mark.parametrize(("at", "verdict"), [("2029-12-31T23:59:59Z", "accept"), ("2030-01-01T00:00:00Z", "drop")])
def test_at(files: tuple[Geodrop, list[str], str], at: str, verdict: str) -> None:
    """--at asks for another time: until `starts` nothing is dropped, from that second on it is."""
    geodrop, _, ruleset = files
    [answer] = geodrop.good("explain", "--ruleset", ruleset, "--at", at, "--json", "1.0.0.1").json_lines
    assert (answer["verdict"], answer["would_drop"]) == (verdict, True)


def test_bad_line_is_answered_and_remembered(files: tuple[Geodrop, list[str], str]) -> None:
    """A line that is no address gives an object with `error`, the others are answered, and the end is 65."""
    geodrop, options, ruleset = files
    for form in (options, ["--ruleset", ruleset]):
        done = geodrop.run("explain", *form, "--json", "-", stdin="1.0.0.1\n1.0.0.1/24\n2400::1\n")
        assert done.code == 65
        answers = [json.loads(line) for line in done.out.splitlines()]
        assert ["error" in answer for answer in answers] == [False, True, False]


@pytest.mark.parametrize(
    "arguments", [["--policy", "p", "1.1.1.1"], ["--database", "d", "1.1.1.1"], ["--at", "tomorrow", "1.1.1.1"], []]
)
def test_usage(tmp_path: Path, arguments: list[str]) -> None:
    """Half a form, no address, or a time without zone: 2."""
    assert Geodrop(tmp_path).run("explain", *arguments).code == 2
