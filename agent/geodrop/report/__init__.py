# SPDX-License-Identifier: Apache-2.0
"""Read from the kernel and the state directory the objects of each verb's --json.

Commands call this when no daemon runs; otherwise the daemon does for them. The commands themselves show it to people.
"""
