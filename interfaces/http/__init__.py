"""The platform over HTTP: one folder per trust boundary, one guard each."""
