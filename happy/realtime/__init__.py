"""What this server does with clients that stay connected, and what they are told."""
