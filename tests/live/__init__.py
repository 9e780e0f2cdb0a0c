"""Ring three: the whole server on a real PostgreSQL and real sockets, and clients of several kinds."""
