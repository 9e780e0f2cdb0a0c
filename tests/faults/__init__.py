"""A server under the load of the hosted service, and what may happen to it (docs/faults.md)."""
