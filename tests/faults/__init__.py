"""Crashes and faults: a real server that is killed, starved and cut off from its clients."""
