"""Many writers, workers and rebuilds under kill -9; every read model ends as the log says."""
