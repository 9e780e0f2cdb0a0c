"""HTTP: connections, routing, and answers on the wire."""
