"""The main job of the platform, shown to a person from beginning to end: `make demo`."""
