"""The files of sessions: their storage, names and types."""
