# SPDX-License-Identifier: Apache-2.0
"""nf_tables over netlink: kernel constants, messages, elements, expressions, the connection, the monitor."""
