"""The journal, the rows and the cache that it writes, and the functions that read them."""
