"""What the unit tests share. Their fixtures are in ``tests/conftest.py``."""
