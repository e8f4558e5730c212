"""Real server processes, and clients of the protocol that talk to them."""
