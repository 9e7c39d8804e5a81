# SPDX-License-Identifier: Apache-2.0
"""The ruleset: one immutable file between compile and dataplane. Root reads it: standard library only."""
