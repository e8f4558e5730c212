"""Helpers that the unit tests share. The fixtures are in ``tests/conftest.py``."""
