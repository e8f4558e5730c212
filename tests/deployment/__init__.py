"""docs/deployment.md, done: its configuration, its commands, and many workers behind nginx."""
