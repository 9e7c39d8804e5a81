# SPDX-License-Identifier: Apache-2.0
"""What operators may rely on, name by name (docs/compatibility.md): read from the code, and listed in promised.txt.

    python -m tests.compatibility

writes the list again. A line that goes, or changes, takes the next large version: `make release` compares with the last
one.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import TYPE_CHECKING

import yaml

from docs.man.reference import exit_codes
from geodrop import config
from geodrop.cli import check, doctor, fleet
from geodrop.cli.main import VERBS, build_parser
from geodrop.compile import checked, regions
from geodrop.daemon import reload
from geodrop.daemon.event import Event
from geodrop.daemon.metrics import WHOLE, Metrics
from geodrop.document.keys import paths
from geodrop.plan import plan
from geodrop.policy import parse
from geodrop.policy.atlas import ATLAS
from geodrop.report import chain, counters, coverage, exempt, history, status, verify
from geodrop.ruleset import explain, export
from geodrop.simulate import simulation
from tests.unit.daemon.test_metrics import COUNTERS, STATUS, samples

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parents[1]
PROMISED = Path(__file__).with_name("promised.txt")
ROLES = ROOT / "deploy" / "ansible"

SCHEMAS = {
    "check": (checked.SCHEMA, check.SCHEMA),
    "counters": (counters.SCHEMA,),
    "doctor": (doctor.SCHEMA,),
    "exempt": (exempt.SCHEMA,),
    "explain": (explain.SCHEMA,),
    "export": (export.SCHEMA,),
    "fleet": (fleet.SCHEMA,),
    "history": (history.SCHEMA, chain.SCHEMA, coverage.SCHEMA),
    "plan": (plan.SCHEMA,),
    "regions": (regions.SCHEMA,),
    "reload": (reload.SCHEMA,),
    "simulate": (simulation.SCHEMA,),
    "status": (status.SCHEMA,),
    "verify": (verify.SCHEMA,),
}
"""The numbers of the objects that each verb prints as JSON."""


def options(verb: str) -> list[str]:
    """Return all spellings of the options of a verb."""
    for action in build_parser([verb])._actions:
        if isinstance(action, argparse._SubParsersAction):
            found = [
                name
                for one in action.choices[verb]._actions
                if one.help != argparse.SUPPRESS
                for name in one.option_strings
            ]
            return sorted(found)
    raise AssertionError(verb)


def with_json() -> set[str]:
    """Return the verbs that can print JSON."""
    return {verb for verb in VERBS if "--json" in options(verb)} | {"export"}


def metrics() -> set[str]:
    """Return each metric with its labels, from a host that has one of everything."""
    made = Metrics()
    one = {"packets": 1, "bytes": 60}
    made.show(lambda: (STATUS, [*COUNTERS, {"service": "api", "family": "ipv4", **dict.fromkeys(WHOLE, one)}]))
    made.reloaded("changed", 0.3, 1_000.0)
    made.bug("watch")
    made.audited(good=True)
    found = {(name, *(label for label, _ in labels)) for name, labels in samples(made) if name.startswith("geodrop_")}
    # When a counter began is said of each by the library, and nothing depends on it.
    return {f"{name}{{{','.join(labels)}}}" for name, *labels in found if not name.endswith("_created")}


def variables() -> Iterator[str]:
    """Yield the variables of the roles of the collection."""
    for file in sorted(ROLES.glob("**/roles/*/defaults/main.y*ml")):
        yield from yaml.safe_load(file.read_text()) or ()


def present() -> list[str]:
    """Return a line for each name that the code has."""
    codes = [line.split("|")[1].strip() for line in exit_codes().splitlines()[2:]]
    lines = [
        *(f"verb {verb}" for verb in VERBS),
        *(f"option {verb} {name}" for verb in VERBS for name in options(verb)),
        *(f"exit {code}" for code in codes),
        *(f"json {verb} {' '.join(map(str, numbers))}" for verb, numbers in SCHEMAS.items()),
        *(f"policy {path}" for path, _ in paths(parse.KEYS)),
        *(f"atlas {text}" for text in ATLAS),
        *(f"agent {path}" for path, _ in paths(config.KEYS)),
        *(f"event {event}" for event in Event),
        *(f"metric {name}" for name in metrics()),
        *(f"variable {name}" for name in variables()),
    ]
    return sorted(lines)


if __name__ == "__main__":
    PROMISED.write_text("\n".join(present()) + "\n")
