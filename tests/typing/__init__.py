"""
What a project may write, as mypy sees it. ``tests/test_typing.py`` runs it over these modules.

A line with an error that has to be there ends in ``# E:`` and the error's code; no other line may
have one.
"""
