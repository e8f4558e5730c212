"""One websocket: its handshake, its limits, its position in the log, and its sender."""
