"""What a console person calls for themselves: coming in, proving who they are, and leaving."""
