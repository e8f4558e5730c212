"""
A worker of a cluster: PostgreSQL, Redis for the cache and the channel layer, and no clock to trust.

``CLUSTER`` in the environment is JSON: where the services are, and what is odd about this worker.
"""

import json
import os

from tests.server.settings import *  # noqa: F403
from tests.server.settings import CHATSESSIONS, MIDDLEWARE

CLUSTER = json.loads(os.environ["CLUSTER"])

ROOT_URLCONF = "tests.faults.cluster.urls"
MIDDLEWARE = [*MIDDLEWARE, "tests.faults.cluster.urls.Unknown"]

#: Why a view has failed is in the log of its process.
LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "handlers": {"stderr": {"class": "logging.StreamHandler"}},
    "loggers": {"django.request": {"handlers": ["stderr"], "level": "ERROR"}},
}

DATABASES = {
    "default": {
        "ENGINE": "django.db.backends.postgresql",
        "HOST": "127.0.0.1",
        "PORT": CLUSTER["postgres"],
        "NAME": CLUSTER["database"],
        "USER": CLUSTER["role"],
        "CONN_MAX_AGE": 0 if CLUSTER.get("pool") else CLUSTER.get("conn_max_age", 60),
        "CONN_HEALTH_CHECKS": CLUSTER.get("conn_health_checks", True),
        "OPTIONS": {
            # Says in the audit who wrote.
            "application_name": CLUSTER["worker"],
            "connect_timeout": 3,
            # A network that is gone without a word is noticed.
            "tcp_user_timeout": 3000,
        },
    },
}
if CLUSTER.get("pool"):
    DATABASES["default"]["OPTIONS"]["pool"] = CLUSTER["pool"]

_REDIS = f"redis://127.0.0.1:{CLUSTER['redis']}/0"

CACHES = {
    "default": {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": _REDIS,
        "KEY_PREFIX": CLUSTER["database"],
        "OPTIONS": {"socket_timeout": 1, "socket_connect_timeout": 1},
    },
}

_LAYERS = {
    "pubsub": "channels_redis.pubsub.RedisPubSubChannelLayer",
    "core": "channels_redis.core.RedisChannelLayer",
    "dropping pubsub": "tests.faults.cluster.layers.DroppingPubSubLayer",
    "dropping core": "tests.faults.cluster.layers.DroppingCoreLayer",
}
_HOST = {"address": _REDIS, "socket_timeout": 10} if "core" in CLUSTER["layer"] else _REDIS
CHANNEL_LAYERS = {
    "default": {
        "BACKEND": _LAYERS[CLUSTER["layer"]],
        "CONFIG": {"hosts": [_HOST], "prefix": CLUSTER["database"]} | CLUSTER.get("losses", {}),
    },
}

#: What a scenario waits for is not to take a minute.
CHATSESSIONS = {
    "HEARTBEAT": 2,
    "WORKER_HEARTBEAT": 0.5,
    "WORKER_STALE": 2,
    "REAP_INTERVAL": 1,
    "EVENTS_PER_SECOND": 200,
    "EVENT_BURST": 500,
    "NEW_SESSIONS_PER_MINUTE": 1_000_000,
    "READS_PER_SECOND": 1_000,
    "READ_BURST": 10_000,
    **CHATSESSIONS,
}
