"""Compile: policy, databases and lists in, one ruleset out. A pure function, run in a child without privileges."""
