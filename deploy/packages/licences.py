# SPDX-License-Identifier: Apache-2.0
"""What a package holds, of whom, and under which licence: read from licences.toml and from the wheels themselves."""

from __future__ import annotations

import hashlib
import re
import tomllib
import zipfile
from dataclasses import dataclass
from email.parser import HeaderParser
from pathlib import Path
from typing import TYPE_CHECKING, Any

from deploy.packages import wheels

if TYPE_CHECKING:
    from collections.abc import Sequence

TABLE = tomllib.loads((Path(__file__).parent / "licences.toml").read_text(encoding="utf-8"))["packages"]


@dataclass(frozen=True, slots=True)
class Part:
    """Something of others that a wheel brings. `licence` is an SPDX expression, `files` are below site-packages."""

    name: str
    licence: str
    copyright: str
    files: tuple[str, ...]
    version: str = ""


@dataclass(frozen=True, slots=True)
class Package:
    """A wheel: `sha256` is that of the wheel itself, `folders` are its files below site-packages."""

    name: str
    version: str
    licence: str
    copyright: str
    sha256: str
    folders: tuple[str, ...]
    parts: tuple[Part, ...]


def read_package(wheel: Path, processor: str) -> Package:
    """Read a wheel; `processor` is dpkg's name. Raises KeyError for one that licences.toml does not know."""
    entry = TABLE[wheels.name_of(wheel)]
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        [metadata] = [name for name in names if name.endswith(".dist-info/METADATA")]
        fields = HeaderParser().parsestr(archive.read(metadata).decode())
        parts = tuple(_part(one, archive) for one in entry.get("parts", ()) if one.get("only", processor) == processor)
    return Package(
        wheels.name_of(wheel),
        str(fields["Version"]),
        str(entry.get("licence") or fields["License-Expression"]),
        entry["copyright"],
        hashlib.sha256(wheel.read_bytes()).hexdigest(),
        tuple(sorted({name.split("/")[0] for name in names})),
        parts,
    )


def _part(entry: dict[str, Any], archive: zipfile.ZipFile) -> Part:
    version = ""
    if "version" in entry:
        file, pattern = entry["version"]
        found = re.search(pattern, archive.read(file).decode())
        version = found[1] if found else ""
    return Part(entry["name"], entry["licence"], entry["copyright"], tuple(entry["files"]), version)


def debian_copyright(packages: Sequence[Package], site: str) -> str:
    """Return the file debian/copyright (DEP-5) of packages whose files are in the folder `site`."""
    head = (
        "Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n"
        "Upstream-Name: geodrop\n"
        "Comment: The locked Python packages that geodrop imports are in this package as their makers built them.\n"
    )
    stanzas, licences = [], set()
    [geodrop] = [one for one in packages if one.name == "geodrop"]
    entries = [("*", geodrop.copyright, geodrop.licence, "")]
    for package in packages:
        where = tuple(f"{folder}/*" for folder in package.folders)
        if package is not geodrop:
            entries.append((_files(site, where), package.copyright, package.licence, f"{package.name}"))
        entries += [(_files(site, one.files), one.copyright, one.licence, one.name) for one in package.parts]
    for files, owner, licence, what in entries:
        comment = f"Comment: {what}\n" if what else ""
        stanzas.append(f"Files: {files}\nCopyright: {owner}\nLicense: {_dep5(licence)}\n{comment}")
        licences.update(re.split(r" (?:AND|OR) ", licence))
    texts = [f"License: {_dep5(name)}\n{_where(name, site)}" for name in sorted(licences)]
    return "\n".join((head, *stanzas, *texts))


def _files(site: str, patterns: Sequence[str]) -> str:
    return "\n ".join(f"{site}/{pattern}" for pattern in patterns)


def _dep5(licence: str) -> str:
    """Return an SPDX expression as DEP-5 writes it: `and`, `or` and `with` are small, exceptions are named so."""
    text = licence.replace(" AND ", " and ").replace(" OR ", " or ")
    return re.sub(r" WITH (\S+)", r" with \1 exception", text)


COMMON = {
    "Apache-2.0": "Apache-2.0",
    "CC0-1.0": "CC0-1.0",
    "GPL-2.0-only": "GPL-2",
    "GPL-2.0-or-later": "GPL-2",
    "GPL-3.0-or-later WITH GCC-exception-3.1": "GPL-3",
    "LGPL-2.1-or-later": "LGPL-2.1",
}
"""Licences whose texts every Debian has, and their files in /usr/share/common-licenses."""


ATTRIBUTION = " IP Geolocation by DB-IP, https://db-ip.com\n"
"""The words that DB-IP asks for (agent/geodrop/data/ATTRIBUTION.md)."""


def _where(licence: str, site: str) -> str:
    if licence in COMMON:
        return f" On Debian systems the text is in /usr/share/common-licenses/{COMMON[licence]}.\n"
    text = f" The text is in the folders {site}/*.dist-info/licenses, as the makers of the packages put it there.\n"
    return text + ATTRIBUTION if licence == "CC-BY-4.0" else text
