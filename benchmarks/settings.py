"""The demo's settings, without its limits; ``BENCHMARK_VARIANT`` picks what is measured."""

import os
from typing import Any

from demo_project.settings import *  # noqa: F403

ROOT_URLCONF = "demo_project.urls"
SECRET_KEY = "benchmarks"  # noqa: S105
ALLOWED_HOSTS = ["127.0.0.1"]

#: One client sends as fast as it is answered, which is what the limits are there to prevent.
LIMITS: dict[str, Any] = {
    "EVENTS_PER_SECOND": 1_000_000,
    "EVENT_BURST": 1_000_000,
    "MAX_PENDING_EVENTS": 100_000,
}
VARIANTS: dict[str, dict[str, Any]] = {
    "bare": {},
    "default": {},
    "fastest": {"EVENT_LOG": "memory", "USER_SESSION_STORE": "cache"},
}
CHATSESSIONS = LIMITS | VARIANTS[os.environ.get("BENCHMARK_VARIANT", "default")]

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"console": {"class": "logging.StreamHandler"}},
    "loggers": {"chatsessions": {"handlers": ["console"], "level": "WARNING"}},
}
