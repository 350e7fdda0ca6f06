"""A small wallet: it pays for a palm at a till, once per key, if there is enough money."""
