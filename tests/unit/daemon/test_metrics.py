# SPDX-License-Identifier: Apache-2.0
"""The metrics for Prometheus, read back by its own parser."""

from __future__ import annotations

from typing import Any

from prometheus_client.exposition import generate_latest
from prometheus_client.parser import text_string_to_metric_families

from geodrop.daemon.metrics import Metrics
from geodrop.errors import UnavailableError

STATUS: dict[str, Any] = {
    "enforcing": True,
    "enforcing_expected": True,
    "exemptions": [{"in_force": True}, {"in_force": False}],
    "healthy": False,
    "paused": False,
    "held": [{"limit": "blast_radius"}],
    "generation": 42,
    "confirm": {"deadline": "2024-07-09T00:00:00Z"},
    "undone": {"digest": "ab", "time": "2024-07-08T00:00:00Z"},
    "interfaces": [
        {"name": "eth0", "engine": "xdp", "attach": "native", "links": ["eth0"]},
        {"name": "eth0", "engine": "nftables", "attach": None, "links": []},
        {"name": "wan*", "engine": "nftables", "attach": None, "links": ["wan0", "wan1"]},
        {"name": "*", "engine": "nftables", "attach": None, "links": ["wan0"]},
        {"name": "eth7", "engine": "nftables", "attach": None, "links": []},
    ],
    "services": [
        {"name": "api", "mode": "enforce", "effective": "enforce", "share": 0.1},
        {"name": "new", "mode": "enforce", "effective": "monitor", "share": 1.0},
    ],
    "databases": [{"name": "country.mmdb", "built": 1_780_000_000}],
}
COUNTERS: list[dict[str, Any]] = [
    {
        "service": "api",
        "family": "ipv4",
        "region": "CN",
        "dropped": {"packets": 7, "bytes": 420},
        "would_drop": {"packets": 1, "bytes": 60},
    },
    {
        "service": "api",
        "family": "ipv6",
        "list": "partners",
        "dropped": {"packets": 0, "bytes": 0},
        "would_drop": {"packets": 0, "bytes": 0},
    },
    {
        "service": "api",
        "family": "ipv4",
        "accepted": {"packets": 1_000, "bytes": 64_000},
        "never_drop": {"packets": 3, "bytes": 180},
    },
    {
        "service": None,
        "family": None,
        "what": "unreadable",
        "dropped": {"packets": 11, "bytes": 990},
        "would_drop": {"packets": 2, "bytes": 130},
    },
]


def samples(metrics: Metrics) -> dict[tuple[str, tuple[tuple[str, str], ...]], float]:
    """Return all samples by name and labels."""
    text = generate_latest(metrics.registry).decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def test_counters_keep_their_values_and_labels() -> None:
    """Every number of `counters --json` appears, with its service, family and class."""
    metrics = Metrics()
    metrics.show(lambda: (STATUS, COUNTERS))
    found = samples(metrics)
    labels = {"service": "api", "family": "ipv4", "kind": "region", "name": "CN"}
    assert found["geodrop_dropped_packets_total", tuple(sorted(labels.items()))] == 7
    assert found["geodrop_dropped_bytes_total", tuple(sorted(labels.items()))] == 420
    assert found["geodrop_would_drop_packets_total", tuple(sorted(labels.items()))] == 1
    whole = (("family", "ipv4"), ("service", "api"))
    assert found["geodrop_accepted_packets_total", whole] == 1_000
    assert found["geodrop_never_drop_bytes_total", whole] == 180
    assert found["geodrop_unreadable_packets_total", (("verdict", "dropped"),)] == 11
    assert found["geodrop_unreadable_bytes_total", (("verdict", "would_drop"),)] == 130
    assert sum(value for (name, _), value in found.items() if name == "geodrop_dropped_packets_total") == 7


def test_state_is_told() -> None:
    """Generation, health, effective mode, interfaces and database age are exported for alerts."""
    metrics = Metrics()
    metrics.show(lambda: (STATUS, COUNTERS))
    found = samples(metrics)
    assert found["geodrop_up", ()] == 1
    assert found["geodrop_generation", ()] == 42
    assert found["geodrop_enforcing", ()] == 1
    assert found["geodrop_healthy", ()] == 0
    assert found["geodrop_confirm_deadline_timestamp_seconds", ()] == 1_720_483_200
    assert found["geodrop_undone_timestamp_seconds", ()] == 1_720_396_800
    assert found["geodrop_undone_total", ()] == 0
    metrics.undone()
    assert samples(metrics)["geodrop_undone_total", ()] == 1
    assert (found["geodrop_held", ()], found["geodrop_exemptions", ()]) == (1, 1)
    assert found["geodrop_service_share", (("service", "api"),)] == 0.1
    assert found["geodrop_service_enforced", (("mode", "enforce"), ("service", "api"))] == 1
    assert found["geodrop_service_enforced", (("mode", "enforce"), ("service", "new"))] == 0
    judged = {labels: value for (name, labels), value in found.items() if name == "geodrop_interface_judged"}
    on_nftables = (("attach", ""), ("engine", "nftables"))
    assert judged == {
        (("attach", "native"), ("engine", "xdp"), ("interface", "eth0")): 1,
        (*on_nftables, ("interface", "wan0")): 1,
        (*on_nftables, ("interface", "wan1")): 1,
        (*on_nftables, ("interface", "eth7")): 0,  # 0 for a name that no interface has
    }
    assert found["geodrop_database_build_timestamp_seconds", (("database", "country.mmdb"),)] == 1_780_000_000


def test_databases_with_one_name_are_one_series() -> None:
    """Prometheus refuses a scrape with two values of one series; the oldest file is the one that an alert is about."""
    metrics = Metrics()
    databases = [{"name": "country.mmdb", "built": built} for built in (1_780_000_000, 1_770_000_000, 1_790_000_000)]
    metrics.show(lambda: ({**STATUS, "databases": databases}, COUNTERS))
    name = "geodrop_database_build_timestamp_seconds"
    lines = [line for line in generate_latest(metrics.registry).decode().splitlines() if line.startswith(f"{name}{{")]
    assert lines == [f'{name}{{database="country.mmdb"}} 1.77e+09']


def test_events_are_counted() -> None:
    """Reloads are counted by outcome, with durations, and so are repairs and audits; all outcomes exist at once."""
    metrics = Metrics()
    assert samples(metrics)["geodrop_reloads_total", (("outcome", "failed"),)] == 0
    metrics.reloaded("changed", 0.3, 1000.0)
    metrics.reloaded("failed", 0.1, 2000.0)
    metrics.repaired()
    metrics.audited(good=True)
    metrics.audited(good=False)
    found = samples(metrics)
    assert found["geodrop_reloads_total", (("outcome", "changed"),)] == 1
    assert found["geodrop_reloads_total", (("outcome", "failed"),)] == 1
    assert found["geodrop_reload_duration_seconds_count", ()] == 2
    assert found["geodrop_last_reload_timestamp_seconds", ()] == 2000
    assert found["geodrop_last_reload_success", ()] == 0
    assert found["geodrop_drift_repairs_total", ()] == 1
    assert found["geodrop_audits_total", (("result", "differs"),)] == 1


def test_a_kernel_that_cannot_be_read_is_told_as_such() -> None:
    """A failure to read is a sample, not an error page: event counters are still exported."""

    def read() -> tuple[dict[str, Any], list[dict[str, Any]]]:
        raise UnavailableError("no nf_tables")

    metrics = Metrics()
    metrics.show(read)
    found = samples(metrics)
    assert found["geodrop_up", ()] == 0
    assert ("geodrop_reloads_total", (("outcome", "failed"),)) in found
    assert ("geodrop_generation", ()) not in found
