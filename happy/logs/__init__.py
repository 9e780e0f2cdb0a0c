"""The process's log: without anything that was a client's, and bounded whatever clients do."""
