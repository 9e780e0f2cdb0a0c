"""Backups: one file with everything, how it is made, proven and read."""
