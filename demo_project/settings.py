"""
The demo on the embedded default: SQLite, a local-memory cache, an in-memory channel layer.

It needs no other service. Its data (database, files, secret key) is in ``var/``, or in the folder
that ``DEMO_DATA`` names. With ``DATABASE_URL`` and ``REDIS_URL`` it uses PostgreSQL and Redis
instead, and may be any number of processes: see docs/deployment.md.
"""

import os
from pathlib import Path

from chatsessions.cli.project.services import (
    local_memory,
    postgres,
    redis_cache,
    redis_layer,
    secret_key,
    sqlite,
)

BASE_DIR = Path(__file__).resolve().parent.parent
DATA_DIR = Path(os.environ.get("DEMO_DATA", BASE_DIR / "var"))
DATA_DIR.mkdir(parents=True, exist_ok=True)

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secret_key(DATA_DIR)
DEBUG = os.environ.get("DJANGO_DEBUG", "0") == "1"
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
# Behind a proxy with TLS: the origins of the page, such as https://chat.example.com.
CSRF_TRUSTED_ORIGINS = os.environ.get("DJANGO_CSRF_TRUSTED_ORIGINS", "").split()

DATABASE_URL = os.environ.get("DATABASE_URL", "")
REDIS_URL = os.environ.get("REDIS_URL", "")
#: Projects that share a Redis need different prefixes, as its pub/sub has no databases.
REDIS_PREFIX = os.environ.get("REDIS_PREFIX", "chatsessions-demo")

INSTALLED_APPS = [
    "daphne",
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "whitenoise.runserver_nostatic",
    "django.contrib.staticfiles",
    "channels",
    "chatsessions",
    "demo_project",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "whitenoise.middleware.WhiteNoiseMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "demo_project.urls"
ASGI_APPLICATION = "demo_project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "DIRS": [BASE_DIR / "templates"],
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ],
        },
    },
]

_IN_MEMORY_LAYER = {"BACKEND": "channels.layers.InMemoryChannelLayer"}

DATABASES = {
    "default": postgres(DATABASE_URL)
    if DATABASE_URL
    # Tests use a file, too: the threads that store sessions cannot share a database in memory.
    else {**sqlite(DATA_DIR / "demo.sqlite3"), "TEST": {"NAME": DATA_DIR / "test.sqlite3"}}
}
CACHES = {"default": redis_cache(REDIS_URL, REDIS_PREFIX) if REDIS_URL else local_memory()}
CHANNEL_LAYERS = {
    "default": redis_layer(REDIS_URL, REDIS_PREFIX, os.environ.get("CHANNEL_LAYER", "pubsub"))
    if REDIS_URL
    else _IN_MEMORY_LAYER
}

CHATSESSIONS: dict[str, object] = {}

# Uploaded files are stored here. Nothing serves the folder: each user gets only their own files.
MEDIA_ROOT = DATA_DIR / "files"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

STATIC_URL = "static/"
# Static files are served from the apps, without collectstatic, unless a web server serves them.
WHITENOISE_USE_FINDERS = True
STATIC_ROOT = os.environ.get("DJANGO_STATIC_ROOT")

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "loggers": {"chatsessions": {"handlers": ["console"], "level": "INFO", "propagate": False}},
}
