"""What the journal writes to, and what sessions are loaded from: the rows, and Django's cache."""
