"""nf_tables over netlink: kernel constants, messages, elements, expressions, the connection, the monitor."""
