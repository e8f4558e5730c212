"""The settings of the server tests, with a hasty database and a cache to switch off."""

import os

from tests.server.settings import *  # noqa: F403
from tests.server.settings import DATA_DIR, DATABASES

DATABASES["default"]["OPTIONS"]["timeout"] = float(os.environ.get("SQLITE_TIMEOUT", "10"))
CACHES = {
    "default": {
        "BACKEND": "tests.faults.cache.SwitchedCache",
        "LOCATION": str(DATA_DIR / "cache"),
        "OPTIONS": {"MAX_ENTRIES": 100_000},
    },
}
