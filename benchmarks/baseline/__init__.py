"""What a competent user would write instead of the platform: the baseline of the broker."""
