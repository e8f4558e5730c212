"""
Warnings of Python's that nobody would hear.

Daphne begins Twisted's log in a way that drops them all, and with them the one that tells of a
forgotten ``await``: a message that is never sent, and no word about it.
"""

from __future__ import annotations

import logging
import warnings


def hear_warnings() -> None:
    """Where Twisted has taken Python's warnings, log them as ``py.warnings``."""
    taker = getattr(warnings.showwarning, "__self__", None)
    if type(taker).__module__.partition(".")[0] == "twisted":
        logging.captureWarnings(True)
