"""`geodrop compile`: build a ruleset file from a policy and databases."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.compile import sandbox
from geodrop.errors import DataError
from geodrop.text import harmless

if TYPE_CHECKING:
    import argparse

    from geodrop.ruleset.model import Ruleset


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


def run(args: argparse.Namespace) -> int:
    """Compile beside the output file and rename, so that a failure leaves the old file."""
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
        # mkstemp sets the mode 0600; a ruleset is no secret, so give it the mode of any new file.
        mask = os.umask(0)
        os.umask(mask)
        os.fchmod(descriptor, 0o666 & ~mask)
        os.fsync(descriptor)
        ruleset = _rulesets().open(name)
        size = os.fstat(descriptor).st_size
        os.replace(name, output)
    finally:
        os.close(descriptor)
        Path(name).unlink(missing_ok=True)
    messages.say(describe(args.output, ruleset, size))
    return 0


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
