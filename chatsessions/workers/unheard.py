"""
Warnings of Python's that nobody would see.

Daphne begins Twisted's log in a way that drops them all, and with them the one that tells of a
coroutine that was never awaited.
"""

from __future__ import annotations

import logging
import sys
import warnings
from typing import TextIO


def hear_warnings() -> None:
    """
    Where Twisted has taken Python's warnings, show them again.

    They are logged as ``py.warnings`` in a project that has a handler for that, and are written to
    stderr, as Python does by itself, in any other: a fresh project has none.
    """
    taker = getattr(warnings.showwarning, "__self__", None)
    if type(taker).__module__.partition(".")[0] != "twisted":
        return
    if _is_handled("py.warnings"):
        logging.captureWarnings(True)
    else:
        warnings.showwarning = _show


def _is_handled(name: str) -> bool:
    """Whether what is logged as ``name`` is written anywhere."""
    logger: logging.Logger | None = logging.getLogger(name)
    while logger is not None:
        if any(not isinstance(handler, logging.NullHandler) for handler in logger.handlers):
            return True
        logger = logger.parent if logger.propagate else None
    return False


def _show(
    message: Warning | str,
    category: type[Warning],
    filename: str,
    lineno: int,
    file: TextIO | None = None,
    line: str | None = None,
) -> None:
    text = warnings.formatwarning(message, category, filename, lineno, line)
    (file or sys.stderr).write(text)
