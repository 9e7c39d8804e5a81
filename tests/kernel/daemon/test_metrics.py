# SPDX-License-Identifier: Apache-2.0
"""Metrics of a running daemon: the numbers are those that the kernel counted."""

from __future__ import annotations

import http.client
import re
import signal
import socket
import sys
import time
from typing import TYPE_CHECKING

from tests.support.cli import TIMEOUT
from tests.support.daemons import daemon

if TYPE_CHECKING:
    from tests.kernel.daemon.conftest import Host

CONNECT = """
import contextlib, socket
with socket.socket() as client, contextlib.suppress(OSError):
    client.settimeout(0.1)
    client.bind(("1.0.0.1", 0))
    client.connect(("127.0.0.1", 443))
"""


def scrape(host: Host) -> str:
    """Return the daemon's metrics; the connection is made inside its namespace."""
    with host.netns.entered():
        connection = http.client.HTTPConnection("127.0.0.1", 9817, timeout=20)
        connection.connect()
    connection.request("GET", "/metrics")
    try:
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_metrics_tell_what_the_kernel_counted(host: Host) -> None:
    """Dropped packets are in the metrics, with bytes, service and region; so are generation and reloads."""
    with daemon(host.geodrop):
        host.netns.run("ip", "address", "add", "1.0.0.1/32", "dev", "lo")
        for _ in range(3):
            # Nothing listens or answers: the SYN is what counts.
            host.netns.run(sys.executable, "-c", CONNECT)
        told = scrape(host)
        [packets] = re.findall(r'geodrop_dropped_packets_total\{.*family="ipv4".*name="CN".*\} (\S+)', told)
        counted = {
            one["family"]: one["dropped"]["packets"]
            for one in host.geodrop.good("counters", "--json").json_lines
            if one.get("region") == "CN"
        }
        assert float(packets) == counted["ipv4"] >= 3
        assert "geodrop_generation 1.0" in told
        assert 'geodrop_reloads_total{outcome="changed"} 1.0' in told
        assert 'geodrop_service_enforced{mode="enforce",service="api"} 1.0' in told
        host.deny("CN", "NOWHERE")
        host.geodrop.run("reload")
        told = scrape(host)
        assert 'geodrop_reloads_total{outcome="failed"} 1.0' in told
        assert "geodrop_last_reload_success 0.0" in told
        assert "geodrop_healthy 0.0" in told


def test_a_taken_port_does_not_stop_the_daemon(host: Host) -> None:
    """If metrics cannot be served, the daemon enforces all the same, and status reports the problem."""
    with host.netns.entered():
        taken = socket.create_server(("127.0.0.1", 9817))
    with daemon(host.geodrop) as running:
        with taken:
            assert host.drops("1.0.0.1")
            status = host.geodrop.run("status", "--json")
            assert (status.code, status.json["enforcing"]) == (1, True)
            [problem] = status.json["problems"]
            assert problem.startswith("metrics cannot be served: ")
        deadline = time.monotonic() + TIMEOUT
        while host.geodrop.run("status", "--json").json["problems"]:
            assert time.monotonic() < deadline
        assert "geodrop_up 1.0" in scrape(host)
    assert "metrics cannot be served" in running.log


def test_a_textfile_tells_when_it_was_written_and_that_the_daemon_has_stopped(host: Host) -> None:
    """A killed daemon leaves its last file, with its time; one that stops leaves a file that says so."""
    path = host.folder / "geodrop.prom"
    host.agent(more=f"metrics: {{textfile: {host.folder}}}\n")

    def written() -> float:
        [found] = re.findall(r"^geodrop_written_timestamp_seconds (\S+)$", path.read_text(), re.MULTILINE)
        return float(found)

    def wait_for(text: str) -> None:
        for _ in range(6000):
            if path.exists() and text in path.read_text():
                return
            time.sleep(0.01)
        raise AssertionError(path.read_text() if path.exists() else "there is no file")

    began = time.time()
    with daemon(host.geodrop) as running:
        wait_for("geodrop_enforcing 1.0")
        running.end(signal.SIGKILL)
    left = written()
    assert began <= left <= time.time()
    with daemon(host.geodrop) as running:
        wait_for("geodrop_enforcing 1.0")
        assert running.end() == 0
    content = path.read_text()
    assert "geodrop_up 0.0" in content
    assert "geodrop_enforcing" not in content
    assert written() > left
