"""What is kept of console people outside the log."""
