# SPDX-License-Identifier: Apache-2.0
"""The demo's API: an HTTP server on both families. The demo runs it as a process, which holds the API's namespace."""

from __future__ import annotations

import socket
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from geodrop.demo.inside import allow_ipv6, end_with_the_demo, say_ready
from geodrop.demo.network import PORT

ANSWER = b"Hello from the API.\n"


class Handler(BaseHTTPRequestHandler):
    """Answers every GET, one request per connection."""

    def do_GET(self) -> None:
        """Send ANSWER with status 200."""
        self.send_response(200)
        self.send_header("Content-Type", "text/plain")
        self.send_header("Content-Length", str(len(ANSWER)))
        self.end_headers()
        self.wfile.write(ANSWER)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that the base class gives it
        """Log nothing: the clients report the answers."""


class DemoServer(ThreadingHTTPServer):
    """Listens on IPv6 and, through mapped addresses, on IPv4."""

    address_family = socket.AF_INET6
    daemon_threads = True
    request_queue_size = 1024
    """Many clients connect at once; a full queue would look like a drop."""

    def server_bind(self) -> None:
        """Bind to both families, whatever /proc/sys/net/ipv6/bindv6only says."""
        self.socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        super().server_bind()

    def handle_error(self, request: object, client_address: object) -> None:
        """Ignore errors of a connection: the demo cuts off clients on purpose."""


def main() -> None:
    """Serve until the demo ends."""
    allow_ipv6()
    server = DemoServer(("::", PORT), Handler)
    say_ready()
    end_with_the_demo()
    server.serve_forever()


if __name__ == "__main__":
    main()
