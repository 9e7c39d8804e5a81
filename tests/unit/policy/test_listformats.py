# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import json
import re
import shutil
import subprocess
from typing import TYPE_CHECKING

import pytest

from geodrop.policy.listfile import MAX_FOREIGN, read_list_file
from geodrop.policy.listformats import format_of_line

if TYPE_CHECKING:
    from pathlib import Path

PLAIN = "9.9.9.0/24\n8.8.8.8\n"
TWO = ["9.9.9.0/24", "8.8.8.8/32"]

CONVERTED = {
    "Spamhaus DROP": (
        "; Spamhaus DROP List 2026/11/28\n; Expires: Sat\n9.9.9.0/24 ; SBL256894\n8.8.8.8 ; SBL1\n",
        "has a comment after ;, like 3 more lines; convert it:  sed ",
        TWO,
    ),
    "a range with a comment": ("1.1.1.0 - 1.1.1.3 ; a\n", "has a comment after ;", ["1.1.1.0/30"]),
    "ipset save": (
        "create bad hash:net family inet hashsize 1024 maxelem 65536\nadd bad 9.9.9.0/24\nadd bad 8.8.8.8 timeout 5\n",
        "is of `ipset save`, like 2 more lines",
        TWO,
    ),
    "ipset list": (
        "Name: bad\nType: hash:net\nHeader: family inet\nReferences: 0\nMembers:\n9.9.9.0/24\n8.8.8.8 timeout 5\n",
        "is of `ipset list`, like 4 more lines",
        TWO,
    ),
    "iptables-save": (
        "*filter\n:INPUT ACCEPT [0:0]\n-A INPUT -s 9.9.9.0/24 -j DROP\n-A INPUT -s 8.8.8.8 -p tcp -j DROP\nCOMMIT\n",
        "is of `iptables-save`, like 4 more lines",
        TWO,
    ),
    "p2p": (
        "# List\nSome name:1.1.1.0-1.1.1.3\nOther: #2 (x):9.9.9.0 - 9.9.9.255\n",
        "is a range with a name (p2p), like 1 more line",
        ["1.1.1.0/30", "9.9.9.0/24"],
    ),
    "DAT": (
        "001.001.001.000 - 001.001.001.003 , 000 , Some name\n009.009.009.000 - 009.009.009.255 , 100 , A-b, c\n",
        "is a range with a level and a name (DAT)",
        ["1.1.1.0/30", "9.9.9.0/24"],
    ),
    "nginx": ("deny 9.9.9.0/24;\ndeny  8.8.8.8;\n", "is a directive of a web server", TWO),
    "Apache": ("Deny from 9.9.9.0/24\nRequire not ip 8.8.8.8\n", "is a directive of a web server", TWO),
    "CSV of prefixes": (
        "network,geoname_id,is_satellite\n9.9.9.0/24,6252001,0\n2a00::/16,,0\n8.8.8.8,1,0\n",
        "is a line of a table (CSV), like 2 more lines",
        ["9.9.9.0/24", "2a00::/16", "8.8.8.8/32"],
    ),
    "CSV of ranges": (
        'start_ip,end_ip,country\n"1.1.1.0","1.1.1.3","AU"\n"2a00::","2a00::1","DE"\n',
        "is a line of a table (CSV), like 1 more line",
        ["1.1.1.0/30", "2a00::/127"],
    ),
    "DShield": (
        "# DShield.org\nStart\tEnd\n1.1.1.0\t1.1.1.255\t24\t2093\tNET\tUS\tx@example.com\n",
        "is a line of a table; ",
        ["1.1.1.0/24"],
    ),
    "columns": (
        "9.9.9.0/24 AS19281 Quad9\n8.8.8.8\tAS15169\n",
        "has something after the prefix, like 1 more line",
        TWO,
    ),
    "many in a line": ("9.9.9.0/24, 8.8.8.8, 1.1.1.1\n", "holds more than one prefix", [*TWO, "1.1.1.1/32"]),
    "JSON lines": (
        '{"cidr":"9.9.9.0/24","sblid":"SBL1"}\n{"cidr":"8.8.8.8","sblid":"SBL2"}\n{"type":"metadata","size":2}\n',
        "the file is JSON; convert it:  grep ",
        TWO,
    ),
    "JSON objects": (
        json.dumps(
            {"createDate": "2026", "prefixes": [{"ip_prefix": "9.9.9.0/24"}, {"ipv6_prefix": "2a00::/16"}]}, indent=1
        ),
        "the file is JSON; convert it:  grep ",
        ["9.9.9.0/24", "2a00::/16"],
    ),
    "a JSON list": ('["9.9.9.0/24",\n "8.8.8.8"]', "the file is JSON; convert it:  grep ", TWO),
}
"""The content of the file, the message about it, and the prefixes after running the command in the message."""

ENCODED = {
    "UTF-16": "the file is UTF-16, as Windows writes it; convert it:  iconv -f UTF-16 ",
    "UTF-16LE": "the file is UTF-16, as Windows writes it; convert it:  iconv -f UTF-16LE ",
    "UTF-16BE": "the file is UTF-16, as Windows writes it; convert it:  iconv -f UTF-16BE ",
}


def said(data: bytes) -> list[str]:
    """Return the problems, with line and column."""
    return [
        f"{one.place.line}:{one.place.column}: {one.message}" for one in read_list_file(data, "l.txt").report.problems()
    ]


def converted(folder: Path, data: bytes, messages: list[str]) -> bytes:
    """Run the command in a message as an operator would; return the new content of the file."""
    (command,) = {match[1] for text in messages if (match := re.search(r"(?:convert|unpack) it:  (.*)$", text))}
    (folder / "list.txt").write_bytes(data)
    command = re.sub(r"\bFILE\b", "list.txt", command).replace("> NEW", "> new.txt")
    subprocess.run(["sh", "-ec", command], cwd=folder, check=True, timeout=60)
    return (folder / "new.txt").read_bytes()


@pytest.mark.parametrize("name", CONVERTED)
def test_lists_of_other_programs(tmp_path: Path, name: str) -> None:
    """The format is reported once however many lines there are, and the command in the message converts the list."""
    text, message, prefixes = CONVERTED[name]
    found = said(text.encode())
    assert any(message in one for one in found), found
    made = converted(tmp_path, text.encode(), found)
    networks, _, report = read_list_file(made, "l.txt")
    # Table headers that are no comments, as some programs write them: a person removes them.
    left = [problem for problem in report.problems() if "Start" not in problem.message]
    assert left == []
    assert [str(network) for network in networks] == prefixes


@pytest.mark.parametrize("encoding", ENCODED)
def test_other_encodings(tmp_path: Path, encoding: str) -> None:
    """UTF-16, with or without a byte order mark, is recognised, and the command converts it."""
    data = ("# caf\u00e9\r\n" + PLAIN * 20).encode(encoding)
    found = said(data)
    assert found == [f"1:1: {ENCODED[encoding]}-t UTF-8 FILE > NEW"]
    networks, _, report = read_list_file(converted(tmp_path, data, found), "l.txt")
    assert not report.problems()
    assert [str(network) for network in networks] == TWO * 20


@pytest.mark.parametrize("program", ["gzip", "bzip2", "xz", "zstd"])
def test_compressed_lists(tmp_path: Path, program: str) -> None:
    """A compressed list is recognised, and the message has the command that unpacks it."""
    packer = shutil.which(program)
    if packer is None:
        magic = {"zstd": b"\x28\xb5\x2f\xfd", "xz": b"\xfd7zXZ\x00", "bzip2": b"BZh", "gzip": b"\x1f\x8b"}[program]
        assert f"1:1: the file is compressed ({program}); unpack it:  {program} -dc FILE > NEW" in said(magic)
        return
    data = subprocess.run([packer, "-c"], input=PLAIN.encode(), capture_output=True, check=True).stdout
    found = said(data)
    assert found == [f"1:1: the file is compressed ({program}); unpack it:  {program} -dc FILE > NEW"]
    assert converted(tmp_path, data, found) == PLAIN.encode()


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"<!DOCTYPE html>\n<html><head><title>403</title>", "1:1: the file is an HTML page, as a failed download"),
        (b"\n <html lang=en>\n", "1:1: the file is an HTML page"),
        (b"<?xml version='1.0'?><list/>", "1:1: the file is XML or HTML; give a text"),
        (b"\x00\x01\x02\x03", "1:1: the file is binary; give a text"),
        (
            b"x" * 10 + b"\xab\xcd\xefMaxMind.com" + b"\xe0",
            "1:1: the file is a GeoIP database; name it under databases",
        ),
        (b"PK\x03\x04\x00", "1:1: the file is compressed (zip); unpack it:  unzip -p FILE > NEW"),
        (b'{"error": "no such list"}', "1:1: the file is JSON; write the prefixes in it, one a line"),
        (
            b"table inet filter {\n set bad {\n",
            '1:1: "table inet filter {" is of an nft ruleset, like 1 more line; write',
        ),
        (b'"16777216","16777471","AU"\n', "is a line of a table with addresses as numbers (CSV); fetch"),
        (b"network,country\n", '1:1: "network,country" is the header of a table (CSV); give a prefix'),
        (b"9.9.9.9, 8.8.8.8\n", '1:1: "9.9.9.9, 8.8.8.8" holds two addresses; write a range with -'),
        (b"0.0.0.0 ads.example.com\n", "names a host, and packets have addresses; use a list of prefixes"),
        (
            b"example.com\nexample.org\n",
            '"example.com" names a host, and packets have addresses, like 1 more line; use',
        ),
        ("1.1.1.0 \u2013 1.1.1.3\n".encode(), "is a range with another dash; write - between the two addresses"),
        (b"1.2.3.*\n", '"1.2.3.*" has a wildcard; write 1.2.3.0/24'),
        (b"1.2.*.*\n", '"1.2.*.*" has a wildcard; write 1.2.0.0/16'),
        (b"9.9.9.9 255.255.255.0\n", '"9.9.9.9 255.255.255.0" has a netmask; write 9.9.9.0/24'),
        (b"9.9.9.0/255.255.255.0\n", '"9.9.9.0/255.255.255.0" has a netmask; write 9.9.9.0/24'),
        (b"9.9.9.0 0.0.0.255\n", '"9.9.9.0 0.0.0.255" has a netmask; write 9.9.9.0/24'),
        (b"AS15169\n", '"AS15169" is the number of a network (ASN); write its prefixes'),
        (b"CN\n", '"CN" is a country, which a list cannot hold; name it in allow or deny of the policy'),
    ],
)
def test_what_no_command_makes_a_list(data: bytes, message: str) -> None:
    """Each known form that no command converts is named, with a next step."""
    (found,) = said(data)
    assert message in found


def test_a_good_file_with_one_foreign_line_names_that_line() -> None:
    """Valid lines are read, and the message is at the foreign line and quotes it."""
    networks, _, report = read_list_file(b"9.9.9.0/24\n8.8.8.8 ; why\n1.1.1.1\n", "l.txt")
    assert [str(network) for network in networks] == ["9.9.9.0/24", "1.1.1.1/32"]
    (problem,) = report.problems()
    assert (problem.place.line, problem.source) == (2, "8.8.8.8 ; why")


def test_millions_of_foreign_lines_end_soon() -> None:
    """A large file of another format is not read to its end, and the count says "at least"."""
    found = said(b"9.9.9.9 ; x\n" * (MAX_FOREIGN + 5_000))
    assert found[0] == (
        f'1:1: "9.9.9.9 ; x" has a comment after ;, like at least {MAX_FOREIGN - 1:,} more lines; '
        "convert it:  sed 's/;/#/' FILE > NEW"
    )
    assert len(found) == 1


@pytest.mark.parametrize("line", ["-A " + "-s " * 200_000, ":" * 500_000, "a." * 200_000 + "!", "1," * 300_000 + "!"])
def test_long_lines_are_not_looked_at(line: str) -> None:
    """A line longer than any program writes is not matched against the known forms."""
    assert format_of_line(line) is None
