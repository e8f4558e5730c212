"""One session in its owner's memory."""
