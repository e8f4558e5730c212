"""The logger of Chainlit's name, and warnings that are given once."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from .names import missing

logger = logging.getLogger("chainlit")


@lru_cache(maxsize=1000)
def warn_once(message: str) -> None:
    """Log a warning, only the first time that it is given."""
    logger.warning(message)


def __getattr__(name: str) -> Any:
    raise missing(__name__, name)
