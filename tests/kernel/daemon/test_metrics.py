"""Metrics of a running daemon: what Prometheus is told is what the kernel counted."""

from __future__ import annotations

import http.client
import re
import socket
import sys
from typing import TYPE_CHECKING

from tests.daemons import daemon

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
    """What the daemon tells; the connection is made inside its namespace."""
    with host.netns.entered():
        connection = http.client.HTTPConnection("127.0.0.1", 9817, timeout=20)
        connection.connect()
    connection.request("GET", "/metrics")
    try:
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_metrics_tell_what_the_kernel_counted(host: Host) -> None:
    """Packets that were dropped are in the metrics, with bytes, service and region; so are generation and reloads."""
    with daemon(host.geodrop):
        host.netns.run("ip", "address", "add", "1.0.0.1/32", "dev", "lo")
        for _ in range(3):
            # Nobody listens and nobody answers: the SYN is what counts.
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
    """Enforcement matters more than being watched: the daemon says that it cannot serve metrics, and enforces."""
    with host.netns.entered():
        taken = socket.create_server(("127.0.0.1", 9817))
    with taken, daemon(host.geodrop) as running:
        assert host.drops("1.0.0.1")
    assert "metrics cannot be served" in running.log
