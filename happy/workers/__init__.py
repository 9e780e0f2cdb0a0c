"""One server of several processes: a parent that owns what they share, and workers that serve."""
