"""The journal, the rows and the cache that it writes, and what is read of them."""
