"""A cache that outlives its server, and fails while a file in its folder says so."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.cache.backends.filebased import FileBasedCache

from tests.faults.points import strike


class SwitchedCache(FileBasedCache):
    """File-based. ``cache-fails`` in the data folder makes every call raise."""

    #: Keys of what is written now.
    _snapshots: Collection[str] = ()

    def _look(self) -> None:
        if (Path(settings.DATA_DIR) / "cache-fails").exists():
            raise ConnectionError("the cache is switched off")

    def get(self, *args: Any, **kwargs: Any) -> Any:
        self._look()
        return super().get(*args, **kwargs)

    def set(self, *args: Any, **kwargs: Any) -> None:
        self._look()
        super().set(*args, **kwargs)
        if args[0] in self._snapshots:
            strike("cached-snapshot")

    def set_many(self, data: dict[str, Any], *args: Any, **kwargs: Any) -> list[Any]:
        self._snapshots = [key for key in data if key.count(":") == 3]
        return super().set_many(data, *args, **kwargs)
