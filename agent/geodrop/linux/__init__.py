"""Thin access to the kernel: namespaces, capabilities, links and routes, sockets, libbpf."""
