"""The logger of Chainlit's name, and warnings that are given once."""

from __future__ import annotations

import logging
from functools import lru_cache

logger = logging.getLogger("chainlit")


@lru_cache(maxsize=1000)
def warn_once(message: str) -> None:
    """Log a warning, only the first time that it is given."""
    logger.warning(message)
