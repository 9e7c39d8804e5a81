# SPDX-License-Identifier: Apache-2.0
import subprocess
import sys
from ipaddress import ip_address, ip_network
from pathlib import Path

import pytest

from tests.support.cli import Geodrop
from tests.support.databases import country, write_database

POLICY = """
version: 1
services:
  api: {match: {ports: {tcp: [443]}}, default: allow, unknown: allow, deny: [CN, 9.9.9.0/24], allow: [1.0.0.128/25]}
  rest: {default: deny, unknown: allow, mode: monitor}
never_drop: {prefixes: [1.0.0.7]}
"""

ADDRESSES = [
    *("1.0.0.0", "1.0.0.7", "1.0.0.127", "1.0.0.128", "1.0.0.255", "1.0.1.0", "9.9.9.9", "10.0.0.1", "255.255.255.255"),
    *("2400:ff::", "2400:100::", "::", "64:ff9b::1.0.0.1", "64:ff9b::1.0.0.7", "64:ff9b::1.0.0.200"),
    *("::ffff:9.9.9.9", "2002:100:7f:ffff::", "2002:100:80::", "2002:909:909::"),
]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> tuple[Geodrop, str]:
    """Return a command line and a ruleset."""
    folder = tmp_path_factory.mktemp("export")
    records = {"1.0.0.0/24": country("CN"), "2.0.0.0/16": country("US"), "2400::/24": country("CN")}
    geodrop = Geodrop(folder)
    return geodrop, str(geodrop.compile(POLICY, write_database(folder / "d.mmdb", records)))


@pytest.mark.parametrize("service", ["api", "rest"])
def test_cidr_is_what_explain_says(files: tuple[Geodrop, str], service: str) -> None:
    """An address is in one of the prefixes exactly if `explain` would drop it, embedded IPv4 included."""
    geodrop, ruleset = files
    lines = geodrop.good("export", ruleset, "--format", "cidr", "--service", service).out.split()
    networks = [ip_network(line) for line in lines]
    answers = geodrop.good("explain", "--ruleset", ruleset, "--json", "-", stdin="\n".join(ADDRESSES)).json_lines
    expected = {one["address"]: one["would_drop"] for one in answers if one["service"] == service}
    found = {text: any(ip_address(text) in network for network in networks) for text in expected}
    assert found == expected
    assert set(found.values()) == {True, False}


def test_json(files: tuple[Geodrop, str]) -> None:
    """The object has all services, or only the one asked for."""
    geodrop, ruleset = files
    whole = geodrop.good("export", ruleset, "--format", "json").json
    assert [one["name"] for one in whole["services"]] == ["api", "rest"]
    assert whole["never_drop"]["prefixes"] == ["1.0.0.7/32"]
    assert whole["inputs"][0]["name"] == "test.yaml"
    assert {"prefix": "9.9.9.0/24", "region": "9.9.9.0/24"} in whole["services"][0]["denied"]
    part = geodrop.good("export", ruleset, "--format", "json", "--service", "rest").json
    assert [one["name"] for one in part["services"]] == ["rest"]


def test_what_prefixes_cannot_say_is_said(files: tuple[Geodrop, str]) -> None:
    """Teredo clients cannot be written as prefixes: there is a warning, except for nft."""
    geodrop, ruleset = files
    assert "2001::/32" in geodrop.good("export", ruleset, "--format", "cidr", "--service", "api").err
    assert geodrop.good("export", ruleset, "--format", "nft").err == ""


def test_nft(files: tuple[Geodrop, str]) -> None:
    """The interfaces are those that are named."""
    geodrop, ruleset = files
    text = geodrop.good("export", ruleset, "--format", "nft", "--interface", "eth0", "--interface", "ens*").out
    assert text.startswith("# Ruleset ")
    assert 'iifname "eth0" goto' in text
    assert 'iifname "ens*" goto' in text


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["--format", "yaml"],
        ["--format", "cidr"],
        ["--format", "cidr", "--service", "web"],
        ["--format", "json", "--interface", "eth0"],
        ["--format", "nft", "--service", "api"],
        ["--format", "nft", "--interface", 'eth0" accept; #'],
        ["--format", "nft", "--interface", "*"],
    ],
)
def test_usage(files: tuple[Geodrop, str], arguments: list[str]) -> None:
    """Meaningless options are refused with 2, and nothing is written."""
    geodrop, ruleset = files
    done = geodrop.run("export", ruleset, *arguments)
    assert (done.code, done.out) == (2, "")


def test_a_file_that_is_no_ruleset(files: tuple[Geodrop, str], tmp_path: Path) -> None:
    """A file that is no ruleset is 65, as everywhere."""
    geodrop, _ = files
    for path in (tmp_path / "missing", tmp_path / "agent.yaml"):
        assert geodrop.run("export", str(path), "--format", "nft").code == 65


@pytest.mark.parametrize("form", ["nft", "json"])
def test_the_standard_library_is_enough(files: tuple[Geodrop, str], form: str) -> None:
    """Nothing but the standard library is imported, so export works on a host where all else is broken."""
    _, ruleset = files
    script = (
        "import sys, contextlib, io; from geodrop.cli.main import main\n"
        "with contextlib.redirect_stdout(io.StringIO()):\n"
        f"    assert main(['export', {ruleset!r}, '--format', {form!r}]) == 0\n"
        "print(*{name.split('.')[0] for name in sys.modules} - set(sys.stdlib_module_names))"
    )
    done = subprocess.run([sys.executable, "-c", script], check=True, capture_output=True, text=True)
    ours = {"geodrop", "__main__", "__mp_main__", "sitecustomize", "usercustomize"}
    assert {name for name in done.stdout.split() if not name.startswith("_")} <= ours
