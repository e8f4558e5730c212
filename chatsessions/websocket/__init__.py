"""One websocket: its handshake, its limits, what it was sent, and the way out."""
