"""Socket.IO on Twisted, for any program."""
