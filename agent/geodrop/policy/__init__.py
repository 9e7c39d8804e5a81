"""Policy: from YAML text to a frozen, typed, checked model. No kernel, no database, no numpy."""
