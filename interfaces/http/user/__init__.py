"""What a person calls: the auth endpoints and nothing else (003 §3.5)."""
