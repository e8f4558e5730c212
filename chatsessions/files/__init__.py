"""The files of sessions: their rows, where they lie, and what they are called."""
