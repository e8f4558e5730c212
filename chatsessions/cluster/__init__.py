"""Sessions whose client, or whose calling code, is at another worker than the owner."""
