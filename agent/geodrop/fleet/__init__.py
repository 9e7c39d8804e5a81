# SPDX-License-Identifier: Apache-2.0
"""Many hosts side by side: what each said of itself, and which of them differ."""
