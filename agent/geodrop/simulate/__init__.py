# SPDX-License-Identifier: Apache-2.0
"""What a ruleset would do to the sources in a log: requests and clients that it drops, by region, network and hour."""
