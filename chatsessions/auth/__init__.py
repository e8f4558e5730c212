"""Who may come in, and who may stay."""
