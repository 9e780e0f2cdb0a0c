"""The contract in machine-readable form: OpenAPI for HTTP, AsyncAPI for sockets.

Both documents are made from the declarations in :mod:`happy.capabilities`, so they cannot say anything
else than the server does. ``python -m happy.contract docs`` writes them into the folder ``docs``.
"""
