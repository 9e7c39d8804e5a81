# SPDX-License-Identifier: Apache-2.0
"""Compile policy, databases and lists into one ruleset: a pure function, run in a child without privileges."""
