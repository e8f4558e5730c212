"""One session in its owner's memory: a room for each thing that can happen in it."""
