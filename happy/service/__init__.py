"""What it is to be a running process: every part built, started, watched and stopped."""
