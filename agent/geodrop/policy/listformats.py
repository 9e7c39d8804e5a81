# SPDX-License-Identifier: Apache-2.0
"""Recognise list files in the formats of other programs, and give the command that converts them.

Commands use only tools that every host has (sed, awk, grep, cut, tr, iconv), with FILE and NEW for the names.
"""

from __future__ import annotations

import re
from contextlib import suppress
from dataclasses import dataclass
from ipaddress import IPv4Network

from geodrop.document.problems import clean

MMDB = b"\xab\xcd\xefMaxMind.com"
LOOKED_AT = 1 << 16
"""Bytes at the start of a file that are examined to recognise its format."""

LONGEST = 1_000
"""Characters of the longest line that is examined."""

MAX_KEYS = 3

IPV4 = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
ADDRESS = rf"(?:{IPV4}|[0-9A-Fa-f]*:[0-9A-Fa-f:.]+)"
PREFIX = rf"{ADDRESS}(?:/[0-9]{{1,3}})?"


@dataclass(frozen=True, slots=True)
class Format:
    """The format of a file or line, as the end of a sentence, and what to write instead.

    A `weak` format is only reported if no other format was found, because it says less.
    """

    what: str
    instead: str
    weak: bool = False


def convert(command: str) -> str:
    """Return the advice to run a conversion command."""
    return f"convert it:  {command} > NEW"


COMPRESSED = {
    b"\x1f\x8b": ("gzip", "gzip -dc FILE"),
    b"BZh": ("bzip2", "bzip2 -dc FILE"),
    b"\xfd7zXZ\x00": ("xz", "xz -dc FILE"),
    b"\x28\xb5\x2f\xfd": ("zstd", "zstd -dc FILE"),
    b"PK\x03\x04": ("zip", "unzip -p FILE"),
}

UTF16 = {b"\xff\xfe": "UTF-16", b"\xfe\xff": "UTF-16"}

HTML = Format(
    "the file is an HTML page, as a failed download or a login leaves behind",
    "fetch the list itself: check the address that it comes from",
)


def format_of_file(data: bytes) -> Format | None:
    """Return the format of a file that has no lines of prefixes; None if it may be a list."""
    for magic, (name, command) in COMPRESSED.items():
        if data.startswith(magic):
            return Format(f"the file is compressed ({name})", f"unpack it:  {command} > NEW")
    if MMDB in data[-(128 << 10) :]:
        return Format("the file is a GeoIP database", "name it under databases, or put prefixes into the list")
    head = data[:LOOKED_AT]
    if encoding := _utf16(head):
        return Format("the file is UTF-16, as Windows writes it", convert(f"iconv -f {encoding} -t UTF-8 FILE"))
    if any(b"\0" in line.partition(b"#")[0] for line in head.split(b"\n")):
        return Format("the file is binary", "give a text with a prefix, range or address a line")
    text = head.decode(errors="replace").removeprefix("\ufeff").lstrip()
    if re.match(r"(?i)<(?:!doctype html|html|head|body)\b", text):
        return HTML
    if text.startswith("<"):
        return Format("the file is XML or HTML", "give a text with a prefix, range or address a line")
    return _json(text) if text[:1] in ("{", "[") else None


def format_of_line(entry: str) -> Format | None:
    """Return the format of a line that is no prefix, range or address; None if no known program writes such lines."""
    if len(entry) > LONGEST:
        return None
    return _computed(entry) or next((made for form, made in LINES if form.fullmatch(entry)), None)


def _line(form: str, what: str, instead: str, *, weak: bool = False) -> tuple[re.Pattern[str], Format]:
    return re.compile(form), Format(what, instead, weak)


LINES = (
    # PeerGuardian (p2p): Some name:1.2.3.4-1.2.3.5
    _line(rf".*:\s*{IPV4}\s*-\s*{IPV4}", "is a range with a name (p2p)", convert("sed 's/.*://' FILE")),
    # eMule (DAT): 001.002.003.000 - 001.002.003.255 , 000 , Some name
    _line(
        rf"{IPV4}\s*-\s*{IPV4}\s*,.*",
        "is a range with a level and a name (DAT)",
        convert(r"sed 's/,.*//; s/\b0*\([0-9]\)/\1/g' FILE"),
    ),
    _line(
        rf"{ADDRESS}\s*[\u2010-\u2015\u2212]\s*{ADDRESS}",
        "is a range with another dash",
        "write - between the two addresses",
    ),
    # ipset save, ipset list
    _line(r"(?:create|add) \S+ \S+.*", "is of `ipset save`", convert("awk '$1 == \"add\" {print $3}' FILE")),
    _line(
        r"(?:Name|Type|Revision|Header|Size in memory|References|Number of entries|Members):.*",
        "is of `ipset list`",
        convert("sed '1,/^Members:/d; s/ .*//' FILE"),
    ),
    # iptables-save
    _line(
        r"-A \S+ .*-s \S+ .*|\*(?:raw|mangle|nat|filter)|:\S+ \S+ \[[0-9:]+\]|COMMIT",
        "is of `iptables-save`",
        convert(r"sed -n 's/^-A .*-s \([^ ]*\) .*/\1/p' FILE"),
    ),
    _line(
        r"table \S+ \S+ \{|(?:set|map|type|flags|elements)\b.*|\}",
        "is of an nft ruleset",
        "write the elements of the set, one a line",
    ),
    # nginx, Apache
    _line(
        rf"(?i)(?:deny|allow|deny from|allow from|require(?: not)? ip)\s+{PREFIX}\s*;?",
        "is a directive of a web server",
        convert("awk '{sub(/;.*/, \"\"); print $NF}' FILE"),
    ),
    # Spamhaus: 1.10.16.0/20 ; SBL256894
    _line(rf";.*|{PREFIX}(?:\s*-\s*{ADDRESS})?\s*;.*", "has a comment after ;", convert("sed 's/;/#/' FILE")),
    _line(
        rf"{ADDRESS}\s*,\s*{ADDRESS}",
        "holds two addresses",
        "write a range with -, such as 198.51.100.0-198.51.100.63, or each in a line of its own",
    ),
    _line(rf"{PREFIX}(?:\s*,\s*{PREFIX})+,?", "holds more than one prefix", convert("tr ', ' '\\n' < FILE")),
    # Tables. Two addresses at the start are a range.
    _line(
        rf'"?{ADDRESS}"?\s*,\s*"?{ADDRESS}"?\s*(?:,.*)?',
        "is a line of a table (CSV)",
        convert('awk -F, \'$1 ~ /[.:]/ {gsub(/[" ]/, ""); print $1 "-" $2}\' FILE'),
    ),
    _line(
        rf'"?{PREFIX}"?\s*,.*',
        "is a line of a table (CSV)",
        convert('awk -F, \'$1 ~ /[.:]/ {gsub(/[" ]/, "", $1); print $1}\' FILE'),
    ),
    _line(
        r'"[0-9]+","[0-9]+",.*',
        "is a line of a table with addresses as numbers (CSV)",
        "fetch the list with addresses or prefixes",
    ),
    _line(
        r"(?:0\.0\.0\.0|127\.0\.0\.1|::1?)\s+[\w.-]*[A-Za-z][\w.-]*|[\w-]+(?:\.[\w-]+)*\.[A-Za-z]{2,}|\|\|.*",
        "names a host, and packets have addresses",
        "use a list of prefixes",
    ),
    # DShield and others: columns with blanks between them
    _line(
        rf"{ADDRESS}\s+{ADDRESS}(?:\s.*)?",
        "is a line of a table",
        convert("awk '$1 ~ /[.:]/ {print $1 \"-\" $2}' FILE"),
    ),
    _line(rf"{PREFIX}\s.*", "has something after the prefix", convert("awk '{print $1}' FILE"), weak=True),
    _line(r"(?i)as\s?[0-9]+", "is the number of a network (ASN)", "write its prefixes"),
    _line(r"[A-Z]{2}", "is a country, which a list cannot hold", "name it in allow or deny of the policy"),
    _line(
        r"[\w\" .-]+(?:,[\w\" .-]*)+",
        "is the header of a table (CSV)",
        "give a prefix, range or address a line",
        weak=True,
    ),
)


def _computed(entry: str) -> Format | None:
    """Return the format of a line whose replacement can be computed from it."""
    if match := re.fullmatch(r"((?:[0-9]{1,3}\.){1,3})\*(?:\.\*)*", entry):
        parts = match[1].rstrip(".").split(".")
        return Format("has a wildcard", f"write {'.'.join([*parts, *'000'][:4])}/{8 * len(parts)}")
    if match := re.fullmatch(rf"({IPV4})[ \t/]+((?:255|0)\.[0-9.]+)", entry):
        with suppress(ValueError):
            return Format("has a netmask", f"write {IPv4Network('/'.join(match.groups()), strict=False)}")
    return None


def _utf16(head: bytes) -> str | None:
    if head[:2] in UTF16:
        return UTF16[head[:2]]
    # Without a byte order mark: in UTF-16 of plain text every other byte is zero.
    pairs = len(head) // 2
    for encoding, zeros in (("UTF-16LE", head[1::2]), ("UTF-16BE", head[0::2])):
        if pairs and zeros.count(0) > 0.9 * pairs and head.count(0) < 0.6 * len(head):
            return encoding
    return None


def _json(text: str) -> Format:
    """Return the format of JSON, or of a JSON object a line; the command takes the keys with values like prefixes."""
    keys = list(dict.fromkeys(re.findall(rf'"([\w.-]+)"\s*:\s*"{PREFIX}"', text)))[:MAX_KEYS]
    what = "the file is JSON"
    if keys:
        names = clean("|".join(keys))
        return Format(what, convert(f'grep -oE \'"({names})" *: *"[^"]+"\' FILE | cut -d\'"\' -f4'))
    if re.search(rf'"{PREFIX}"', text):
        return Format(what, convert("grep -oE '\"[0-9A-Fa-f:.]+(/[0-9]+)?\"' FILE | tr -d '\"'"))
    return Format(what, "write the prefixes in it, one a line")
