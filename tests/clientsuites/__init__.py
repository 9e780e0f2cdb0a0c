"""socket.io's client suites, against programs on ``happy.socketio``: ``python -m tests.clientsuites``."""
