# SPDX-License-Identifier: Apache-2.0
"""Signatures of rulesets, made and checked by ssh-keygen."""
