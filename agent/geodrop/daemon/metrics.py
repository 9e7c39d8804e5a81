# SPDX-License-Identifier: Apache-2.0
"""The metrics for Prometheus: state and totals are read at a scrape, events are counted as they happen.

Names follow Prometheus' own advice (units in the name, `_total` for what only grows, times as seconds since the epoch).
Labels are bounded by the policy: services, at most 1,024 regions and lists, interfaces.
"""

from __future__ import annotations

import time
from datetime import datetime
from typing import TYPE_CHECKING, Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily

from geodrop import __version__

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence

    from prometheus_client.core import Metric

    Read = Callable[[], tuple[dict[str, Any], list[dict[str, Any]]]]

RELOAD_BUCKETS = (0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0)
OUTCOMES = ("changed", "unchanged", "held", "failed")
CLASSES = {
    "dropped": "Packets dropped, by service, family and the region, list or prefix that decided",
    "would_drop": "Packets that would have been dropped, without monitor mode, a future start, or a pause",
}
WHOLE = {
    "accepted": "Packets of a service that were let through",
    "never_drop": "Packets of a service let through by a never-drop line alone",
    "exempted": "Packets of a service let through because their source is exempt (geodrop exempt)",
}

UNREADABLE = "of frames behind more VLAN tags than are read, by verdict (dropped or would_drop)"


class Metrics:
    """The registry, and the methods by which parts of the daemon report events."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)
        self._reloads = Counter(
            "geodrop_reloads", "Reloads since the daemon started, by outcome", ["outcome"], registry=self.registry
        )
        for outcome in OUTCOMES:
            self._reloads.labels(outcome)
        self._durations = Histogram(
            "geodrop_reload_duration_seconds",
            "How long reloads took, from request to answer",
            buckets=RELOAD_BUCKETS,
            registry=self.registry,
        )
        self._last = Gauge(
            "geodrop_last_reload_timestamp_seconds", "When the last reload ended", registry=self.registry
        )
        self._good = Gauge("geodrop_last_reload_success", "Whether the last reload succeeded", registry=self.registry)
        self._repairs = Counter(
            "geodrop_drift_repairs", "Times the kernel was brought back to the ruleset", registry=self.registry
        )
        self._undone = Counter(
            "geodrop_undone",
            "Loads that the kernel undid because they were not confirmed, found since the daemon started",
            registry=self.registry,
        )
        self._bugs = Counter("geodrop_bugs", "Bugs that the daemon has met, by task", ["task"], registry=self.registry)
        self._audits = Counter(
            "geodrop_audits", "Background audits of the kernel, by result", ["result"], registry=self.registry
        )
        for result in ("good", "differs"):
            self._audits.labels(result)

    def show(self, read: Read) -> None:
        """Add what `read` returns to the registry: the objects of `status` and of `counters`."""
        self.registry.register(KernelCollector(read))

    def reloaded(self, outcome: str, seconds: float, now: float) -> None:
        """Record the end of a reload: one of OUTCOMES, after `seconds`, at `now` (seconds since the epoch)."""
        self._reloads.labels(outcome).inc()
        self._durations.observe(seconds)
        self._last.set(now)
        self._good.set(outcome in {"changed", "unchanged"})

    def repaired(self) -> None:
        """Record a repair of the kernel."""
        self._repairs.inc()

    def undone(self) -> None:
        """Record that a load was undone."""
        self._undone.inc()

    def bug(self, task: str) -> None:
        """Record an unexpected exception in a task."""
        self._bugs.labels(task).inc()

    def audited(self, *, good: bool) -> None:
        """Record the end of a background audit."""
        self._audits.labels("good" if good else "differs").inc()


class KernelCollector:
    """A collector that reads the kernel's state at each scrape."""

    def __init__(self, read: Read) -> None:
        self._read = read

    def describe(self) -> Iterable[Metric]:
        """Return nothing: at registration there may be no kernel state to read yet."""
        return ()

    def collect(self) -> Iterator[Metric]:
        """Yield all families; if the kernel cannot be read, only the first three."""
        yield InfoMetricFamily("geodrop_build", "This daemon", {"version": __version__})
        # node_exporter goes on exporting a file that is no longer written.
        yield GaugeMetricFamily("geodrop_written_timestamp_seconds", "When these metrics were made", value=time.time())
        up = GaugeMetricFamily("geodrop_up", "Whether the kernel could be read")
        try:
            status, counters = self._read()
        except Exception:  # noqa: BLE001 - whatever prevents reading, geodrop_up is 0
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield up
        yield from of_status(status)
        yield from of_counters(counters)


def of_status(status: Mapping[str, Any]) -> Iterator[Metric]:
    """Yield the families made from the object of `status --json`."""
    for name, help_ in (
        ("enforcing", "Whether packets from denied regions are dropped: 0 while paused, monitoring or not in force"),
        ("enforcing_expected", "Whether they should be: 0 where the policy asks for monitor everywhere, or for later"),
        ("healthy", "Whether kernel, ruleset and daemon agree"),
        ("paused", "Whether enforcement is paused"),
    ):
        yield GaugeMetricFamily(f"geodrop_{name}", help_, value=float(bool(status[name])))
    waits = status["confirm"]
    yield GaugeMetricFamily(
        "geodrop_confirm_deadline_timestamp_seconds",
        "When the kernel goes back from a load that waits to be confirmed; 0: none waits",
        value=datetime.fromisoformat(waits["deadline"]).timestamp() if waits else 0.0,
    )
    undone = status["undone"]
    yield GaugeMetricFamily(
        "geodrop_undone_timestamp_seconds",
        "When the kernel undid the last load because it was not confirmed; 0: it did not",
        value=datetime.fromisoformat(undone["time"]).timestamp() if undone else 0.0,
    )
    yield GaugeMetricFamily("geodrop_held", "Limits that hold the last reload; 0: it is not held", len(status["held"]))
    yield GaugeMetricFamily("geodrop_generation", "Number of the generation in force; 0: none", status["generation"])
    in_force = sum(bool(one["in_force"]) for one in status["exemptions"])
    yield GaugeMetricFamily("geodrop_exemptions", "Number of sources that are exempt now", value=in_force)
    mode = GaugeMetricFamily(
        "geodrop_service_enforced", "Whether a service drops packets now", labels=["service", "mode"]
    )
    for service in status["services"]:
        mode.add_metric([service["name"], service["mode"]], float(service["effective"] == "enforce"))
    yield mode
    share = GaugeMetricFamily(
        "geodrop_service_share", "Share of the denied sources that a service drops now, 0 to 1", labels=["service"]
    )
    for service in status["services"]:
        share.add_metric([service["name"]], service["share"])
    yield share
    judged = GaugeMetricFamily(
        "geodrop_interface_judged",
        "Where packets are judged, and by which engine; 0: a name or pattern that no interface has",
        labels=["interface", "engine", "attach"],
    )
    series = {
        (name, interface["engine"], interface["attach"] or ""): 1.0
        for interface in status["interfaces"]
        for name in interface["links"]
    }
    judged_names = {name for name, _, _ in series}
    # A rule for a name that also has an XDP link only waits for another interface of that name.
    for interface in status["interfaces"]:
        if not interface["links"] and interface["name"] not in judged_names:
            series[interface["name"], interface["engine"], interface["attach"] or ""] = 0.0
    for labels, there in series.items():
        judged.add_metric(labels, there)
    yield judged
    built = GaugeMetricFamily(
        "geodrop_database_build_timestamp_seconds",
        "Build epoch of each database in force; of several files with one name, of the oldest",
        labels=["database"],
    )
    # Two folders may hold files of one name, and a series is told apart by its labels alone.
    oldest: dict[str, float] = {}
    for database in status.get("databases", ()):
        oldest[database["name"]] = min(database["built"], oldest.get(database["name"], database["built"]))
    for name, epoch in oldest.items():
        built.add_metric([name], epoch)
    yield built


def of_counters(objects: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield the families made from the objects of `counters --json`: packets and bytes (IP length)."""
    for unit in ("packets", "bytes"):
        for name, help_ in CLASSES.items():
            family = CounterMetricFamily(
                f"geodrop_{name}_{unit}",
                help_.replace("Packets", unit.capitalize()),
                labels=["service", "family", "kind", "name"],
            )
            for one in objects:
                if name in one and one["service"]:
                    kind = next(kind for kind in ("region", "list", "prefix") if kind in one)
                    family.add_metric([one["service"], one["family"], kind, one[kind]], one[name][unit])
            yield family
        for name, help_ in WHOLE.items():
            family = CounterMetricFamily(
                f"geodrop_{name}_{unit}", help_.replace("Packets", unit.capitalize()), labels=["service", "family"]
            )
            for one in objects:
                if name in one:
                    family.add_metric([one["service"], one["family"]], one[name][unit])
            yield family
    yield from of_unreadable([one for one in objects if not one["service"]])


def of_unreadable(objects: Sequence[Mapping[str, Any]]) -> Iterator[Metric]:
    """Yield the families of counters that belong to no service."""
    for unit, what in (("packets", "Number"), ("bytes", "Bytes")):
        family = CounterMetricFamily(f"geodrop_unreadable_{unit}", f"{what} {UNREADABLE}", labels=["verdict"])
        for one in objects:
            for name in CLASSES:
                family.add_metric([name], one[name][unit])
        yield family
