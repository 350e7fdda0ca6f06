"""The public formats of the transparency log (C2SP tlog-tiles, RFC 6962), as pure functions."""
