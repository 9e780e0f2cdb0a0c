"""What comes from the master secret, and the secret itself."""
