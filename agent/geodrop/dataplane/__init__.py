# SPDX-License-Identifier: Apache-2.0
"""Both engines as one: which engine judges which interface, changing both in one transaction, reading both back."""
