# SPDX-License-Identifier: Apache-2.0
"""The alerts in deploy/prometheus use metrics that exist, and fire in the right states and in no other."""

from __future__ import annotations

import ast
import itertools
import operator
import re
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
import yaml
from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from geodrop.daemon.metrics import Metrics, of_status
from geodrop.report.state import Facts, state_of

ROOT = Path(__file__).parents[1]
RULES: list[dict[str, Any]] = [
    rule
    for path in sorted((ROOT / "deploy" / "prometheus").glob("*.yml"))
    for group in yaml.safe_load(path.read_text(encoding="utf-8"))["groups"]
    for rule in group["rules"]
]
BY_NAME = {rule["alert"]: rule for rule in RULES}
COUNT = {"packets": 1, "bytes": 60}


def status(facts: Facts) -> dict[str, Any]:
    """Return the parts of `status --json` that metrics read."""
    state = state_of(facts)
    return {
        "enforcing": state.enforcing,
        "enforcing_expected": facts.asked,
        "healthy": facts.in_force and facts.reached and not facts.leaks and not facts.problems,
        "paused": facts.paused,
        "held": [{"limit": "blast_radius"}] if facts.problems else [],
        "exemptions": [],
        "generation": int(facts.in_force),
        "confirm": None,
        "undone": None,
        "interfaces": [{"name": "eth0", "engine": "nftables", "attach": None, "links": ["eth0"]}],
        "services": [{"name": "api", "mode": "enforce", "effective": "enforce", "share": 1.0}],
        "databases": [{"name": "country.mmdb", "type": "Country", "sha256": "ef" * 32, "built": 1, "roles": []}],
    }


COMPARE = {ast.Lt: operator.lt, ast.Gt: operator.gt, ast.Eq: operator.eq}


def holds(node: ast.AST, values: dict[str, float]) -> float:
    """Translate an expression that means the same in Python and PromQL, if each name is one series."""
    match node:
        case ast.Expression(body):
            return holds(body, values)
        case ast.BoolOp(ast.And(), parts):
            return all(holds(part, values) for part in parts)
        case ast.Compare(left, [op], [right]):
            return bool(COMPARE[type(op)](holds(left, values), holds(right, values)))
        case ast.BinOp(left, ast.Sub(), right):
            return holds(left, values) - holds(right, values)
        case ast.Call(ast.Name("abs"), [value]):
            return abs(holds(value, values))
        case ast.Call(ast.Name("time"), []):
            return values["time"]
        case ast.Name(name):
            return values[name]
        case ast.Constant(value):
            return float(str(value))
    raise AssertionError(ast.dump(node))


EVERY = [Facts(*values) for values in itertools.product((False, True), repeat=len(fields(Facts)))]
"""Every combination of these facts."""


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_metric_exists(rule: dict[str, Any]) -> None:
    """An alert on a metric that does not exist would never fire."""
    metrics = Metrics()
    shared = {"service": "api", "family": "ipv4"}
    counters = [
        {**shared, "region": "CN", "dropped": COUNT, "would_drop": COUNT},
        {**shared, "accepted": COUNT, "never_drop": COUNT},
    ]
    metrics.show(lambda: (status(EVERY[-1]), counters))
    text = generate_latest(metrics.registry).decode()
    told = {sample.name for family in text_string_to_metric_families(text) for sample in family.samples}
    named = set(re.findall(r"geodrop_\w+", rule["expr"]))
    assert named
    assert named <= told


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule["alert"])
def test_every_alert_leads_somewhere(rule: dict[str, Any]) -> None:
    """Each alert has a severity, a duration and a heading of the runbook."""
    assert rule["labels"]["severity"] in {"page", "ticket"}
    assert re.fullmatch(r"\d+[mh]", rule["for"])
    page, _, heading = rule["annotations"]["runbook"].partition("#")
    headings = re.findall(r"^## (.+)$", (ROOT / page).read_text(encoding="utf-8"), re.MULTILINE)
    assert heading in {re.sub(r"[^a-z -]", "", one.lower()).replace(" ", "-") for one in headings}


@pytest.mark.parametrize("facts", EVERY, ids=str)
def test_who_is_woken(facts: Facts) -> None:
    """An alert fires if and only if the policy wants drops, nobody has paused, and a denied packet passes."""
    values = {
        sample.name: sample.value
        for family in of_status(status(facts))
        for sample in family.samples
        if not sample.labels
    }

    def fires(name: str) -> bool:
        return bool(holds(ast.parse(BY_NAME[name]["expr"], mode="eval"), values))

    passes = not facts.in_force or not facts.reached or facts.leaks
    assert fires("GeodropNotEnforcing") == (facts.asked and not facts.paused and passes)
    assert fires("GeodropPaused") == facts.paused
    assert fires("GeodropHeld") == facts.problems
    if fires("GeodropNotEnforcing"):
        assert fires("GeodropDegraded")


@pytest.mark.parametrize(("age", "fires"), [(0, False), (60, False), (121, True), (86_400, True), (-121, True)])
def test_old_metrics_fire(age: int, fires: bool) -> None:  # noqa: FBT001 - a table
    """Metrics that are no longer written fire, whatever they say; a minute between two scrapes does not."""
    metrics = Metrics()
    metrics.show(lambda: (status(EVERY[-1]), []))
    written = metrics.registry.get_sample_value("geodrop_written_timestamp_seconds")
    assert written is not None
    values = {"geodrop_written_timestamp_seconds": written, "time": written + age}
    assert bool(holds(ast.parse(BY_NAME["GeodropStale"]["expr"], mode="eval"), values)) == fires


@pytest.mark.parametrize(
    ("name", "key", "value"),
    [
        ("GeodropUndone", "undone", {"digest": "ab", "time": "2024-07-09T00:00:00Z"}),
        ("GeodropUnconfirmed", "confirm", {"deadline": "2024-07-09T00:00:00Z"}),
    ],
)
def test_loads_that_are_not_confirmed_fire(name: str, key: str, value: dict[str, str]) -> None:
    """Each alert fires while status shows its object, and not without."""
    for shown in (value, None):
        found = of_status({**status(EVERY[-1]), key: shown})
        values = {sample.name: sample.value for family in found for sample in family.samples if not sample.labels}
        assert bool(holds(ast.parse(BY_NAME[name]["expr"], mode="eval"), values)) == (shown is not None)
