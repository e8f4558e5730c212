"""
What a project may write, as mypy sees it: ``make types`` checks these modules, too.

A line with an error that has to be there ignores that error, and mypy tells of what is ignored for
nothing.
"""
