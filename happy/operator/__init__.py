"""What whoever runs a server calls."""
