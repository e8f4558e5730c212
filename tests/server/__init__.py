"""Real server processes, driven by a real websocket client."""
