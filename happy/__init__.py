"""A sync server for the Happy family of clients: encrypted blobs in, the same blobs out."""

__version__ = "0.2.0.dev0"
