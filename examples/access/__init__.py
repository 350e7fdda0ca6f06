"""A small access control: it opens a gate for a palm, if the person may pass there."""
