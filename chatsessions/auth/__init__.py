"""Access: which clients may connect, and which may stay connected."""
