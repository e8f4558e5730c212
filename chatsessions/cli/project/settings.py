"""
Settings of ``chatsessions run``; ``chatsessions run --show-settings`` prints this file.

One process keeps everything in one folder: SQLite, a cache and a channel layer in its own memory.
Several processes need ``DATABASE_URL`` (PostgreSQL) and ``REDIS_URL``. A project made by
``chatsessions startproject`` begins with the same settings, as a file of its own.
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

#: The folder that keeps the database, the secret key and uploaded files.
DATA = Path(os.environ["CHATSESSIONS_DATA"])

SECRET_KEY = os.environ.get("DJANGO_SECRET_KEY") or secret_key(DATA)
DEBUG = os.environ.get("CHATSESSIONS_DEBUG") == "1"
ALLOWED_HOSTS = os.environ.get("DJANGO_ALLOWED_HOSTS", "localhost,127.0.0.1,[::1]").split(",")
# Behind a proxy with TLS: the origins of the page, such as https://chat.example.com.
CSRF_TRUSTED_ORIGINS = os.environ.get("DJANGO_CSRF_TRUSTED_ORIGINS", "").split()

INSTALLED_APPS = [
    "django.contrib.admin",
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.sessions",
    "django.contrib.messages",
    "django.contrib.staticfiles",
    "channels",
    "chatsessions",
    "chatsessions.cli.project",
]

MIDDLEWARE = [
    "django.middleware.security.SecurityMiddleware",
    "django.contrib.sessions.middleware.SessionMiddleware",
    "django.middleware.locale.LocaleMiddleware",
    "django.middleware.common.CommonMiddleware",
    "django.middleware.csrf.CsrfViewMiddleware",
    "django.contrib.auth.middleware.AuthenticationMiddleware",
    "django.contrib.messages.middleware.MessageMiddleware",
    "django.middleware.clickjacking.XFrameOptionsMiddleware",
]

ROOT_URLCONF = "chatsessions.cli.project.urls"
ASGI_APPLICATION = "chatsessions.cli.project.asgi.application"

TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
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

DATABASE_URL = os.environ.get("DATABASE_URL", "")
REDIS_URL = os.environ.get("REDIS_URL", "")
#: Projects that share a Redis need different prefixes, as its pub/sub has no databases.
REDIS_PREFIX = os.environ.get("REDIS_PREFIX", "chatsessions")

DATABASES = {"default": postgres(DATABASE_URL) if DATABASE_URL else sqlite(DATA / "db.sqlite3")}
CACHES = {"default": redis_cache(REDIS_URL, REDIS_PREFIX) if REDIS_URL else local_memory()}
CHANNEL_LAYERS = {
    "default": redis_layer(REDIS_URL, REDIS_PREFIX, os.environ.get("CHANNEL_LAYER", "pubsub"))
    if REDIS_URL
    else {"BACKEND": "channels.layers.InMemoryChannelLayer"}
}
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"

# Uploaded files are stored here. Each is served to its own session only.
MEDIA_ROOT = DATA / "files"

LANGUAGE_CODE = "en"
TIME_ZONE = "UTC"
USE_TZ = True

# The path below which a proxy serves the project; empty for the root.
ROOT_PATH = os.environ.get("CHATSESSIONS_ROOT_PATH", "")
FORCE_SCRIPT_NAME = ROOT_PATH or None
# Static files are served from the packages, without collectstatic.
STATIC_URL = f"{ROOT_PATH}/static/"

# Options of the command line that pages and URLs depend on.
SERVE_ADMIN = os.environ.get("CHATSESSIONS_ADMIN", "1") == "1"
SHOW_PROBLEMS = os.environ.get("CHATSESSIONS_SHOW_PROBLEMS") == "1"
WATCH = os.environ.get("CHATSESSIONS_WATCH") == "1"

CHATSESSIONS = {
    # Language models write Markdown.
    "MESSAGE_FORMAT": "markdown",
    # Seconds that running turns get when a file is saved or Ctrl-C is pressed.
    "SHUTDOWN_TIMEOUT": 0.5,
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {"line": {"format": "%(asctime)s %(levelname)s %(name)s: %(message)s"}},
    "handlers": {"console": {"class": "logging.StreamHandler", "formatter": "line"}},
    "root": {"handlers": ["console"], "level": "WARNING"},
    "loggers": {
        "chatsessions": {"level": "DEBUG" if DEBUG else "INFO"},
        # Its default handler, for DEBUG, would print each line a second time.
        "django": {"level": "INFO"},
    },
}
