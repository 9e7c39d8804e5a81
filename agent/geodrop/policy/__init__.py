"""The policy: read from YAML text into a frozen, typed, checked model. No kernel, no database, no numpy."""
