"""The ruleset: one immutable file between compile and dataplane. Standard library only, since root reads it."""
