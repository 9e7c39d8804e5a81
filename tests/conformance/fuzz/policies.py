# SPDX-License-Identifier: Apache-2.0
"""The policies under which shapes are tried: all deny the denied side something, none denies the allowed side."""

from tests.conformance.case import CATCH_ALL, DENY_CN, VERSION, service

MAIN = "ports"

POLICIES = {
    MAIN: "services:\n" + service(DENY_CN, "{ports: {tcp: [443], udp: [443]}}"),
    "whole protocols": "services:\n" + service(DENY_CN, "{protocols: [udp, icmp, 132]}"),
    "everything": "services:\n" + service(DENY_CN, CATCH_ALL),
    "local addresses": "services:\n"
    + service(DENY_CN, '{ports: {tcp: [443], udp: [443]}, addresses: [203.0.113.1, "2001:db8::1"]}', "web")
    + service(DENY_CN, '{addresses: [203.0.113.2, "2001:db8::2"]}', "edge"),
    "side by side": "never_drop: {ports: {tcp: [22], udp: [80]}}\nservices:\n"
    + service(DENY_CN + "; established: keep", "{ports: {tcp: [443, 22]}}", "web")
    + service(DENY_CN, "{ports: {udp: [0-1023]}}", "datagrams")
    + service(DENY_CN, "{protocols: [51, 47]}", "tunnels")
    + service(DENY_CN + "; mode: monitor", "{ports: {tcp: [80, 443]}}", "trial")
    + service(DENY_CN, CATCH_ALL, "rest"),
}
POLICIES = {name: VERSION + body for name, body in POLICIES.items()}
