"""The adapter itself, by bots that are written in the tests."""
