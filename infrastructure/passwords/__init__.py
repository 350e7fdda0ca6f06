"""How passwords are hashed and kept, and which ones nobody may have."""
