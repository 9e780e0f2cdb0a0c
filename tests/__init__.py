"""The tests, in three rings: pure; in memory; live, on a real PostgreSQL and real sockets."""
