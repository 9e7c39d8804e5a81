# SPDX-License-Identifier: Apache-2.0
"""`geodrop doctor`: what this host can do, and what is missing."""

from __future__ import annotations

import json
from contextlib import suppress
from dataclasses import asdict
from typing import TYPE_CHECKING

from geodrop import messages
from geodrop.config import load_config
from geodrop.doctor import bpf, daemon, host, interfaces, keys, nftables
from geodrop.doctor.finding import MISSING, NOTE, OK, able
from geodrop.errors import PrivilegeError, UnavailableError
from geodrop.state.lock import control_socket
from geodrop.text import MARGIN, harmless, lines

if TYPE_CHECKING:
    import argparse

    from geodrop.doctor.finding import Finding

SCHEMA = 1
WIDTH = 9
"""Columns of the kind of a finding."""
COLOURS = {OK: messages.GREEN, MISSING: messages.RED, NOTE: messages.YELLOW}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Add the arguments of `doctor`."""
    parser.add_argument("--json", action="store_true", help="print one JSON object")


def run(args: argparse.Namespace) -> int:
    """Return 0 if geodrop can enforce here with the engine of agent.yaml, 69 if not. Nothing is changed."""
    config = load_config(args.config)
    findings = [*host.findings(config), *keys.findings(config)]
    with suppress(UnavailableError):
        findings += daemon.findings(control_socket())
    findings += nftables.findings()
    # Without nf_tables or the right to ask it, which an earlier finding says, there is nothing to add.
    with suppress(PrivilegeError, UnavailableError):
        findings.append(nftables.place())
        findings += [*nftables.before_us(), *nftables.beside_us()]
    findings += [*bpf.findings(), *interfaces.findings(config.interfaces)]
    can = able(findings, config.engine)
    if args.json:
        found = [asdict(finding) for finding in findings]
        print(json.dumps({"schema": SCHEMA, "engine": config.engine, "can_enforce": can, "findings": found}))
    else:
        messages.say("\n".join(describe(finding) for finding in findings))
        verdict = "can enforce here" if can else "cannot enforce here"
        colour = messages.GREEN if can else messages.RED
        messages.say(messages.paint(f"geodrop {verdict} with engine {config.engine}", colour))
    return 0 if can else UnavailableError.exit_code


def describe(finding: Finding) -> str:
    """Describe a finding in one line: ok or missing, what was found, what that costs, the next step."""
    text = "; ".join(filter(None, (finding.found, finding.cost, finding.next_step)))
    said = f"{harmless(finding.name)}: {lines(text, MARGIN)}"
    return messages.entry(finding.status, said, WIDTH, COLOURS[finding.status])
