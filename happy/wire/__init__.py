"""Wire formats and protocol machines without I/O: bytes, values and times in, values out. No Twisted here."""
