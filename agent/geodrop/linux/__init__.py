# SPDX-License-Identifier: Apache-2.0
"""Thin access to the kernel: namespaces, capabilities, links and routes, sockets, libbpf."""
