# SPDX-License-Identifier: Apache-2.0
"""What a change would do, before it is made, and what holds it back: from two rulesets, without databases or numpy."""
