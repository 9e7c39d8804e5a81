"""Signatures of rulesets, made and checked by ssh-keygen."""
