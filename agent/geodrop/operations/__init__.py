"""Changes of what is in force: load, rollback, pause, boot, repair."""
