"""nf_tables on the wire: constants of the kernel, messages, elements, expressions, the connection, the monitor."""
