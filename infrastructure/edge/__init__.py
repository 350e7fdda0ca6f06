"""Where connections end: TLS, who the peer is, what has been revoked, and how requests are read."""
