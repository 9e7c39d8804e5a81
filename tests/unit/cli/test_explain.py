# SPDX-License-Identifier: Apache-2.0
import json
from pathlib import Path

import pytest

from tests.support.cli import Geodrop, on_terminal
from tests.support.databases import city, country, write_database

POLICY = """
version: 1
services:
  api: {default: allow, unknown: allow, deny: [IR, UA-43], starts: 2030-01-01T00:00:00Z}
"""


@pytest.fixture
def files(tmp_path: Path) -> tuple[Geodrop, list[str], str]:
    """Return a command line, the options for the policy, and the same policy as a ruleset."""
    records = {"1.0.0.0/24": country("IR"), "2.0.0.0/16": city("UA", "43"), "2400::/24": country("IR")}
    database = write_database(tmp_path / "city.mmdb", records)
    geodrop = Geodrop(tmp_path)
    ruleset = geodrop.compile(POLICY, database)
    return geodrop, ["--policy", str(tmp_path / "test.yaml"), "--database", str(database)], str(ruleset)


def test_both_offline_forms_agree(files: tuple[Geodrop, list[str], str]) -> None:
    """Databases and ruleset give the same verdicts, rungs and order; only databases give records."""
    geodrop, options, ruleset = files
    addresses = "1.0.0.1\n2.0.0.1\n9.9.9.9\n2400::1\n1.0.0.1\n10.0.0.1\n2002:100:1::\n"
    full = geodrop.good("explain", *options, "--json", "-", stdin=addresses).json_lines
    short = geodrop.good("explain", "--ruleset", ruleset, "--json", "-", stdin=addresses).json_lines
    assert [answer["address"] for answer in full] == addresses.split()
    assert [answer["rung"] for answer in full] == [
        "country", "subdivision", "unknown", "country", "country", "special", "country",
    ]  # fmt: skip
    shared = ("address", "service", "zone", "rung", "line", "place", "verdict", "would_drop", "embedded")
    assert [[answer[key] for key in shared] for answer in full] == [[a[key] for key in shared] for a in short]
    assert full[1]["record"] == city("UA", "43")
    assert [answer["region"] for answer in full] == ["IR", "UA-43", "unknown", "IR", "IR", "unknown", "IR"]


@pytest.mark.parametrize(("at", "verdict"), [("2029-12-31T23:59:59Z", "accept"), ("2030-01-01T00:00:00Z", "drop")])
def test_at(files: tuple[Geodrop, list[str], str], at: str, verdict: str) -> None:
    """--at asks for another time: until `starts` nothing is dropped, from that second on it is."""
    geodrop, _, ruleset = files
    [answer] = geodrop.good("explain", "--ruleset", ruleset, "--at", at, "--json", "1.0.0.1").json_lines
    assert (answer["verdict"], answer["would_drop"]) == (verdict, True)


def test_bad_line_is_answered_and_remembered(files: tuple[Geodrop, list[str], str]) -> None:
    """A line that is no address gives an object with `error`, the others are answered, and the exit code is 65."""
    geodrop, options, ruleset = files
    for form in (options, ["--ruleset", ruleset]):
        done = geodrop.run("explain", *form, "--json", "-", stdin="1.0.0.1\n1.0.0.1/33\n2400::1\n")
        assert done.code == 65
        answers = [json.loads(line) for line in done.out.splitlines()]
        assert ["error" in answer for answer in answers] == [False, True, False]


@pytest.mark.parametrize(
    "arguments",
    [
        ["--policy", "p", "--ruleset", "r", "1.1.1.1"],
        ["--database", "d", "1.1.1.1"],
        ["--at", "tomorrow", "1.1.1.1"],
        [],
    ],
)
def test_usage(tmp_path: Path, arguments: list[str]) -> None:
    """Contradicting options, no address, or a time without a zone: 2."""
    assert Geodrop(tmp_path).run("explain", *arguments).code == 2


def test_verdict_line_and_change_lead(files: tuple[Geodrop, list[str], str]) -> None:
    """Both sources begin with the same words: verdict, deciding line with its place, what to change; no zone."""
    geodrop, options, ruleset = files
    expected = (
        "ACCEPT  IR: api denies IR (test.yaml:4); but api drops nothing before 2030-01-01T00:00:00Z; "
        "to let it in: deny without IR, or allow: [1.0.0.1]\n"
        "region  if it is not in IR: corrections: {1.0.0.1: DE}, with its country for DE\n"
    )
    for form in (options, ["--ruleset", ruleset]):
        assert geodrop.good("explain", *form, "1.0.0.1:443").out == expected
    full = geodrop.good("explain", *options, "-v", "1.0.0.1", "2.0.0.1").out.splitlines()
    assert full[0] == "1.0.0.1"
    assert full[2].startswith("        api: rung country, zone ")
    assert full[3] == "        database record: {'country': {'iso_code': 'IR'}}"
    assert full[5] == "2.0.0.1"


def test_a_prefix(files: tuple[Geodrop, list[str], str]) -> None:
    """Each way in which the prefix is judged has a line with its share; --at applies to all of them."""
    geodrop, options, ruleset = files
    for form in (options, ["--ruleset", ruleset]):
        assert geodrop.good("explain", *form, "--at", "2031-01-01T00:00:00Z", "1.0.0.0/23").out.splitlines() == [
            "DROP    IR: api denies IR (test.yaml:4); such as 1.0.0.0 (256 of 512 addresses)",
            (
                "ACCEPT  unknown: no database has a country for it (unknown: allow, test.yaml:4, of api); such as "
                "1.0.1.0 (256 of 512 addresses)"
            ),
        ]


def test_a_region(files: tuple[Geodrop, list[str], str]) -> None:
    """How much of a country is dropped by which line; both sources agree, and each object has its parts."""
    geodrop, options, ruleset = files
    for form in (options, ["--ruleset", ruleset]):
        assert geodrop.good("explain", *form, "--at", "2031-01-01T00:00:00Z", "IR").out.splitlines() == [
            (
                "DROP    api denies IR (test.yaml:4): 256 IPv4 addresses (all of IR), 16,777,216 IPv6 /48s; "
                "to let it in: deny without IR"
            )
        ]
        [answer] = geodrop.good("explain", *form, "--json", "UA-43").json_lines
        assert (answer["about"], answer["subject"], answer["addresses"]) == ("subdivision", "UA-43", 1 << 16)
        done = geodrop.run("explain", *form, "Iran", "AQ")
        assert (done.code, done.out) == (65, "")
        assert "'Iran' is neither an address nor a known region; write IR" in done.err
        assert "AQ: no address of it is known" in done.err


def test_databases_of_agent_yaml(files: tuple[Geodrop, list[str], str]) -> None:
    """--policy alone takes the databases that agent.yaml names; if it names none, an error says so (2)."""
    geodrop, options, _ = files
    done = geodrop.run("explain", *options[:2], "1.0.0.1")
    assert (done.code, "add --database FILE" in done.err) == (2, True)
    with (geodrop.folder / "agent.yaml").open("a") as config:
        config.write("source: {policy: test.yaml, databases: [city.mmdb]}\n")
    assert geodrop.good("explain", *options[:2], "1.0.0.1").out.startswith("ACCEPT  IR: api denies IR (test.yaml:4)")


def test_colour_and_columns_on_a_terminal(files: tuple[Geodrop, list[str], str]) -> None:
    """At 80 columns no line is longer, words stay whole, and the verdict has its colour unless NO_COLOR is set."""
    geodrop, options, ruleset = files
    for form in (options, ["--ruleset", ruleset]):
        command = geodrop.command("explain", *form, "--at", "2031-01-01T00:00:00Z", "1.0.0.1")
        painted = on_terminal(command, columns=80)
        assert "\x1b[31mDROP\x1b[0m    IR: api denies IR" in painted
        plain = on_terminal(command, columns=80, environment={"NO_COLOR": "1"})
        assert "\x1b" not in plain
        narrow = on_terminal(command, columns=40, environment={"NO_COLOR": "1"}).splitlines()
        assert max(map(len, narrow)) <= 40
        assert narrow[1].startswith("        ")
        words = " ".join(plain.split()).replace("DROP IR", "DROP    IR").replace("region if", "region  if")
        assert " ".join(line.strip() for line in narrow) == words


TESTED = POLICY.replace("starts: ", "expect: {drop: [1.0.0.0/24], accept: [9.9.9.9]}, starts: ")


def test_the_tests_about_an_address_are_named(tmp_path: Path) -> None:
    """A test that is about the address or the prefix is named with its line, from a ruleset as from a policy."""
    database = write_database(tmp_path / "city.mmdb", {"1.0.0.0/24": country("IR"), "2.0.0.0/16": city("UA", "43")})
    geodrop = Geodrop(tmp_path)
    ruleset = geodrop.compile(TESTED, database)
    test = {"expect": "drop", "prefix": "1.0.0.0/24", "region": None, "place": "test.yaml:4"}
    for form in (["--policy", str(tmp_path / "test.yaml"), "--database", str(database)], ["--ruleset", str(ruleset)]):
        out = geodrop.good("explain", *form, "1.0.0.1").out
        assert out.endswith("\ntest    expect drop: 1.0.0.0/24 (test.yaml:4, of api)\n")
        assert "test " not in geodrop.good("explain", *form, "8.8.8.8").out
        answers = geodrop.good("explain", *form, "--json", "1.0.0.9", "1.0.0.0/16", "8.8.8.8").json_lines
        assert [answer["tests"] for answer in answers] == [[test]] * (len(answers) - 1) + [[]]


def test_a_failing_test_is_explained(tmp_path: Path) -> None:
    """A policy that no ruleset can be made of is explained nevertheless, with a warning for the test that fails."""
    database = write_database(tmp_path / "city.mmdb", {"1.0.0.0/24": country("IR"), "2.0.0.0/16": city("UA", "43")})
    (tmp_path / "test.yaml").write_text(TESTED.replace("drop: [1.0.0.0/24], accept: [9.9.9.9]", "accept: [1.0.0.0/24]"))
    done = Geodrop(tmp_path).good(
        "explain", "--policy", str(tmp_path / "test.yaml"), "--database", str(database), "1.0.0.1"
    )
    assert "warning: expect accept: 1.0.0.0/24 would be dropped: IR, deny: IR (test.yaml:4)" in done.err
    assert done.out.startswith("ACCEPT  IR: api denies IR (test.yaml:4); but api")
    assert "\ntest    expect accept: 1.0.0.0/24" in done.out


def test_what_a_list_is_drawn_from(tmp_path: Path) -> None:
    """A ruleset alone names network, trait, list and database, also of an address inside an IPv6 one."""
    policy = """
version: 1
lists:
  cloud: {asn: [AS64496]}
  hidden: {traits: [{vpn: 50}, hosting]}
groups: {bad: ["list:hidden", IR]}
services:
  api: {default: allow, unknown: allow, deny: ["list:cloud", "group:bad"]}
"""
    places = write_database(tmp_path / "country.mmdb", {"2.0.0.0/8": country("US")})
    lite = write_database(tmp_path / "lite.mmdb", {"2.0.0.0/16": {"asn": "AS64496"}, "2600::/32": {"asn": "AS64496"}})
    anonymous = {"is_anonymous": True, "is_anonymous_vpn": True, "anonymizer_confidence": 99}
    hidden = write_database(tmp_path / "hidden.mmdb", {"2.1.0.0/16": anonymous, "2.2.0.0/16": {"is_hosting": True}})
    geodrop = Geodrop(tmp_path)
    ruleset = str(geodrop.compile(policy, places, lite, hidden))
    said = geodrop.good("explain", "--ruleset", ruleset, "2.0.0.1", "2.1.0.1", "2002:202:1::", "2.9.0.1").out
    assert "2.0.0.1 (AS64496 in lite.mmdb): api denies list:cloud (test.yaml:8); to let it in: list:" in said
    assert "2.1.0.1 (list:hidden: vpn 50 in hidden.mmdb): api denies group:bad (test.yaml:8)" in said
    assert "2.2.0.1 inside 2002:202:1:: (list:hidden: hosting in hidden.mmdb): api denies group:bad" in said
    (answer,) = geodrop.good("explain", "--ruleset", ruleset, "--json", "2600::1").json_lines
    assert (answer["rung"], answer["counted_as"]) == ("list", "list:cloud")
    assert answer["drawn"] == [{"list": "cloud", "what": "AS64496", "database": "lite.mmdb"}]
