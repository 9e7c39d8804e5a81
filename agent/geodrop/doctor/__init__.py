# SPDX-License-Identifier: Apache-2.0
"""Find out what this host can do without changing anything on it: one module per family of probes."""
