"""The table of settings, and the sources that their values come from."""
