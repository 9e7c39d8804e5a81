# SPDX-License-Identifier: Apache-2.0
"""The protocol between commands and the daemon: JSON in frames on a Unix socket. Few imports, for a fast reload."""
