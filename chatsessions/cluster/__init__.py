"""Between workers: a session whose client, or whose caller, is at another one than its owner."""
