"""What happens to the kernel behind the daemon's back: noticed, repaired, and said who it was."""
