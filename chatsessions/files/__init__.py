"""Files of sessions: their rows, where they lie, and how they come in."""
