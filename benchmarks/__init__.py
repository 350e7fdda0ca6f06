"""`make bench`: what we do and what its baseline does, measured in one run, and the ratio."""
