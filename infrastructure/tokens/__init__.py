"""Tokens and proofs of possession, ours and those that others sign."""
