# SPDX-License-Identifier: Apache-2.0
"""The state that geodrop keeps between runs: rulesets, the generation number, the intent. Standard library only."""
