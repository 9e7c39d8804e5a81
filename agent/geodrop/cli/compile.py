# SPDX-License-Identifier: Apache-2.0
"""`geodrop compile`: build a ruleset file from a policy and databases."""

from __future__ import annotations

import os
import tempfile
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop import messages, utc
from geodrop.compile import sandbox
from geodrop.errors import DataError
from geodrop.text import harmless

if TYPE_CHECKING:
    import argparse

    from geodrop.ruleset.model import Ruleset

WRITTEN = 0o666
"""The mode of any new file, before the user's umask: neither a ruleset nor a signature is a secret."""


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `compile`."""
    parser.add_argument("--policy", required=True, metavar="FILE", help="the policy")
    parser.add_argument(
        "--database",
        required=True,
        action="append",
        metavar="FILE",
        help="a GeoIP database (.mmdb); may be repeated: of countries or cities, and of networks (ASN) and anonymisers",
    )
    parser.add_argument("-o", "--output", required=True, metavar="FILE", help="the ruleset file to write")
    parser.add_argument(
        "--sign",
        metavar="KEY",
        help="sign it with this ssh key, into FILE.sig: a private key, or the public key of one in ssh-agent",
    )


def run(args: argparse.Namespace) -> int:
    """Compile beside the output file and rename, so that a failure leaves the old file, and its signature."""
    output = Path(args.output)
    try:
        descriptor, name = tempfile.mkstemp(dir=output.parent, prefix=f".{output.name}.")
    except OSError as error:
        raise DataError(f"{output.parent}: {error.strerror}", "name a folder that can be written") from error
    try:
        job = sandbox.Job("compile", args.policy, args.database, descriptor)
        code = sandbox.run(job, meanwhile=_rulesets)
        if code != 0:
            return code
        signed = _sign(name, descriptor, output, args.sign) if args.sign else None
        _finish(descriptor)
        ruleset = _rulesets().open(name)
        size = os.fstat(descriptor).st_size
        if signed:
            # First the signature: a host that looks in between refuses both, and what is in force there stays.
            _replace(Path(f"{output}.sig"), signed)
        os.replace(name, output)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)
    messages.say(describe(args.output, ruleset, size))
    if signed:
        made = utc.moment(ruleset.meta.compiled or 0)
        messages.say(f"{harmless(args.output)}.sig: signed with {harmless(args.sign)}, compiled {made}")
    return 0


def _sign(name: str, descriptor: int, output: Path, key: str) -> bytes:
    """Give a compiled ruleset its date, in place, and return its signature. Raises as `sign`."""
    from geodrop.ruleset import container, dated  # noqa: PLC0415 - as `_rulesets`
    from geodrop.signature.sign import sign  # noqa: PLC0415 - few compiles need it

    before = None
    with suppress(DataError):  # there is none, or it is damaged: then the new one replaces it
        before = container.open_file(output)
    content = dated.dated(container.open_file(name), int(time.time()), before)
    os.ftruncate(descriptor, 0)
    with open(descriptor, "wb", closefd=False) as file:
        file.seek(0)
        file.write(content)
    os.lseek(descriptor, 0, os.SEEK_SET)
    return sign(descriptor, key)


def _finish(descriptor: int) -> None:
    """Give a new file the mode of any new file, where mkstemp sets 0600, and write it to the disk."""
    mask = os.umask(0)
    os.umask(mask)
    os.fchmod(descriptor, WRITTEN & ~mask)
    os.fsync(descriptor)


def _replace(path: Path, content: bytes) -> None:
    """Give a file this content, by a rename. Raises DataError."""
    try:
        descriptor, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
        try:
            with open(descriptor, "wb") as file:
                file.write(content)
                file.flush()
                _finish(descriptor)
            os.replace(name, path)
        finally:
            Path(name).unlink(missing_ok=True)
    except OSError as error:
        raise DataError(f"{path}: {error.strerror}", "name a folder that can be written") from error


def _rulesets() -> type[Ruleset]:
    """Imported while the child starts, since it is needed only once the child has written a ruleset."""
    from geodrop.ruleset.model import Ruleset  # noqa: PLC0415

    return Ruleset


def describe(name: str, ruleset: Ruleset, size: int) -> str:
    """Describe a ruleset file in one line; `size` is in bytes."""
    counts = [
        sum(len(ruleset.sections[f"nft/{service.name}/ipv{family}/targets"]) // 2 for service in ruleset.meta.services)
        for family in (4, 6)
    ]
    return (
        f"{harmless(name)}: ruleset {ruleset.digest[:12]}, {len(ruleset.meta.zones):,} zones, "
        f"nftables intervals {counts[0]:,} IPv4 and {counts[1]:,} IPv6, {size / 1e6:.1f} MB"
    )
