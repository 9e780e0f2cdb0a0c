"""The framework of endpoints and events: declared, decoded, run in a transaction, answered."""
