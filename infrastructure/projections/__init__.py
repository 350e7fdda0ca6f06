"""Runs the read models of `projections`: batches from the log, rows and position in one commit."""
