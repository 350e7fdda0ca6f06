"""`link-identity`: run the platform, and do what needs no browser."""

from interfaces.cli.commands import main

__all__ = ["main"]
