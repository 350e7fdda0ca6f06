"""Keys: where they are kept, how they are wrapped, changed and signed with."""
