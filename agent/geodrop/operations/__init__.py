"""The operations that change what is in force: load, rollback, pause, boot, repair."""
