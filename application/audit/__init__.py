"""Reading the log back: who did what, what was true when, and the proof of it."""
