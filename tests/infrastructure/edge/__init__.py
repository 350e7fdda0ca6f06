"""The listeners, spoken to by the clients that people use."""
