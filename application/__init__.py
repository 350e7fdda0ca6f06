"""What happens, in which order: the steps of a command, over ports."""
