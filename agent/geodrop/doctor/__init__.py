"""What this host can do, found out without changing anything on it: one module a family of probes."""
