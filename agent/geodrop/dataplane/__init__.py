"""The only part that holds privileges: it makes the kernel match a ruleset and reads the kernel back."""
