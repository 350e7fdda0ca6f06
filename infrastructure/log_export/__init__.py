"""A tenant's log as a directory of files: written, verified, replayed and proved from offline."""
