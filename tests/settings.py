"""
The demo's settings, with what tests need: a database per run, fast hashing.

A file of SQLite; or PostgreSQL, where CHATSESSIONS_TEST_DATABASE_URL says where that is (and
``make postgres`` starts one). What a developer's shell has for the demo is not for the tests.
"""

import atexit
import os
import shutil
import tempfile
from pathlib import Path

for _variable in ("DATABASE_URL", "REDIS_URL"):
    os.environ.pop(_variable, None)

from chatsessions.cli.project.services import postgres  # noqa: E402
from demo_project.settings import *  # noqa: E402, F403
from demo_project.settings import DATABASES as DEMO_DATABASES  # noqa: E402

SECRET_KEY = "tests"
_folder = Path(tempfile.mkdtemp(prefix="chatsessions-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
_url = os.environ.get("CHATSESSIONS_TEST_DATABASE_URL")
DATABASES = {
    "default": postgres(_url)
    if _url
    else {
        **DEMO_DATABASES["default"],
        "NAME": _folder / "db.sqlite3",
        # A file: an in-memory database cannot be shared by threads without table locks.
        "TEST": {"NAME": _folder / "test.sqlite3"},
    },
}
if _url:
    # As long as SQLite is waited for.
    DATABASES["default"]["OPTIONS"]["options"] = "-c lock_timeout=10s"
    # A test that runs tests has a database of its own.
    DATABASES["default"]["TEST"] = {"NAME": f"test_{os.getpid()}"}
MEDIA_ROOT = _folder / "files"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
