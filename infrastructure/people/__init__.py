"""What is kept about people outside the log: encrypted, digested, and erasable (design §6)."""
