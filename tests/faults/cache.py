"""A cache that outlives its server, and fails while a file in its folder says so."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache.backends.filebased import FileBasedCache


class SwitchedCache(FileBasedCache):
    """File-based. ``cache-fails`` in the data folder makes every call raise."""

    def _look(self) -> None:
        if (Path(settings.DATA_DIR) / "cache-fails").exists():
            raise ConnectionError("the cache is switched off")

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self._look()
        return super().get(*args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._look()
        super().set(*args, **kwargs)
