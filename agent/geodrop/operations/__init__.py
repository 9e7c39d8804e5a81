# SPDX-License-Identifier: Apache-2.0
"""The operations that change what is in force: load, rollback, pause, boot, repair."""
