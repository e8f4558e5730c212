"""The demo's settings, without its limits; ``BENCHMARK_SETTINGS`` has what a mode changes."""

import json
import os
from typing import Any

from demo_project.settings import *  # noqa: F403
from demo_project.settings import DATABASES

ROOT_URLCONF = "demo_project.urls"
SECRET_KEY = "benchmarks"  # noqa: S105
ALLOWED_HOSTS = ["127.0.0.1"]
DEBUG = False

#: The limits would slow down a client that sends as fast as it is answered. The heartbeat is long,
#: because a crowd sends no pings while others are measured.
LIMITS: dict[str, Any] = {
    "EVENTS_PER_SECOND": 1_000_000,
    "EVENT_BURST": 1_000_000,
    "MAX_PENDING_EVENTS": 100_000,
    "USER_SESSION_MAX_BYTES": 2 * 1024 * 1024,
    "HEARTBEAT": 3600,
    "NEW_SESSIONS_PER_MINUTE": 1_000_000,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"chatsessions": {"handlers": ["console"], "level": "WARNING"}},
}

_mode: dict[str, Any] = json.loads(os.environ.get("BENCHMARK_SETTINGS", "{}"))
CHATSESSIONS = LIMITS | _mode.pop("CHATSESSIONS", {})
if "SQLITE" in _mode:
    DATABASES["default"]["OPTIONS"]["init_command"] = _mode.pop("SQLITE")  # type: ignore[index]
globals().update(_mode)
