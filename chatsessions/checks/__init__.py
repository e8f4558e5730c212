"""
System checks, which find mistakes in a project's settings before the first connection.

Each message names the setting, its value and what to write. Ids are stable; silence one with
``SILENCED_SYSTEM_CHECKS``. All checks have the tag ``chatsessions``.

============================== =====================================================================
``E001``                       ``CHATSESSIONS`` is not a dict
``E002``                       ``CHATSESSIONS`` has a key that is no setting
``E003``                       a setting in ``CHATSESSIONS`` is ill-typed
``E004``                       ``WORKER_STALE`` is not above twice ``WORKER_HEARTBEAT``
``E005``                       ``CACHE`` names no alias in ``CACHES``
``E006``                       ``DATABASE`` names no alias in ``DATABASES``
``E007``, ``W001``             ``CACHE_TIMEOUT`` is below ``SESSION_AGE`` (E: it is the only store)
``E008``, ``W002``             the cache is Django's dummy cache (E: it is the only store)
``E009``                       ``django.contrib.auth`` is not installed
``E010``                       ``STORAGE`` names no alias in ``STORAGES``
``E011``, ``W018``             the Redis cache has several servers (E: it is the only store)
``E012``, ``W020`` (database)  several workers live, the cache is in local memory (E: as above)
``E013`` (database)            workers live on several hosts, the database is SQLite
``E014`` (database)            the database has no transactions
``E015``                       ``DATABASE`` leads to another database than the one with the users
``W003``                       the cache throws entries away beyond a small ``MAX_ENTRIES``
``W004``                       the cache is a table in the database
``W005``                       ``MAX_FRAME_BYTES`` is above what daphne lets through
``W007``                       SQLite is told not to use write-ahead logging
``W009``                       the database has no partial unique constraints (MySQL, Oracle)
``W010``                       daphne is older than 4.2.2
``W011``                       ``USE_TZ`` is off in a time zone with summer time
``W013`` (deploy)              ``ASGI_APPLICATION`` cannot be imported
``W014`` (deploy)              a consumer is reached from any origin
``W015`` (deploy)              a consumer is reached without ``AuthMiddleware``
``W016``                       files are taken, and would lie in the working directory
``W017`` (deploy)              files are taken into a folder that a web server may serve to anybody
``W019`` (deploy)              Redis evicts, and is the only store
``W021`` (database)            several workers live, the channel layer is in memory or missing
``W022`` (database)            the clock of a worker is off
``W023`` (database)            the isolation of transactions is not READ COMMITTED
``W024``                       ``runserver`` is Django's own, which speaks no websockets
============================== =====================================================================

Checks marked *database* query the database that ``CHATSESSIONS['DATABASE']`` names. They run with
``manage.py check --database`` and its alias, and before ``migrate``. Checks marked *deploy* run
with ``manage.py check --deploy`` only: they import ``ASGI_APPLICATION``, which loads every consumer
and middleware and configures logging again, and they ask Redis for its configuration.
"""

from . import project, stores, workers  # noqa: F401  # each registers its checks
