"""The demo's settings with a data folder per server; TESTS_SETTINGS changes any of them."""

import json
import os
import sys

from demo_project.settings import *  # noqa: F403
from demo_project.settings import INSTALLED_APPS

if "runserver" not in sys.argv:  # the only one who needs it; others start sooner without Twisted
    INSTALLED_APPS = [app for app in INSTALLED_APPS if app != "daphne"]

SECRET_KEY = "tests"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
ASGI_APPLICATION = "tests.server.app.application"
ROOT_URLCONF = "tests.server.urls"

globals().update(json.loads(os.environ.get("TESTS_SETTINGS", "{}")))
