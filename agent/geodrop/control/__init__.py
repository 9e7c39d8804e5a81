"""How commands talk to the daemon: JSON in frames on a Unix socket. Few imports, so that a reload starts at once."""
