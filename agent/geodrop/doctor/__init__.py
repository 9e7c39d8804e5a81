"""Find out what this host can do without changing anything on it: one module per family of probes."""
