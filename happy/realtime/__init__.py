"""Live connections: Engine.IO transports, Socket.IO sockets, and what this server does with them."""
