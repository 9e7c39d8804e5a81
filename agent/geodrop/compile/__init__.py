"""Compile policy, databases and lists into one ruleset: a pure function, run in a child without privileges."""
