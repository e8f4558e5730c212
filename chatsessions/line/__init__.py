"""One websocket: who comes in, what they are sent, and how it leaves."""
