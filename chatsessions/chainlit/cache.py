"""``cache``: keeps the results of a function, by its arguments, in this process."""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")


def cache(func: Callable[P, R]) -> Callable[P, R]:
    """Return ``func`` with a cache: it runs once for the same arguments, also in many threads."""
    kept: dict[Any, R] = {}
    lock = threading.RLock()

    @functools.wraps(func)
    def wrapper(*args: P.args, **kwargs: P.kwargs) -> R:
        key = (args, tuple(sorted(kwargs.items())))
        with lock:
            if key not in kept:
                kept[key] = func(*args, **kwargs)
            return kept[key]

    return wrapper
