# SPDX-License-Identifier: Apache-2.0
"""The policy: read from YAML text into a frozen, typed, checked model. No kernel, no database, no numpy."""
