"""The pages about the platform, and what generates those that code can say better."""
