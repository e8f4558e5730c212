"""The demo's settings, with what tests need: one file database per run, fast hashing."""

import atexit
import shutil
import tempfile
from pathlib import Path

from demo_project.settings import *  # noqa: F403
from demo_project.settings import DATABASES as DEMO_DATABASES

SECRET_KEY = "tests"
_folder = Path(tempfile.mkdtemp(prefix="chatsessions-tests-"))
atexit.register(shutil.rmtree, _folder, ignore_errors=True)
DATABASES = {
    "default": {
        **DEMO_DATABASES["default"],
        "NAME": _folder / "db.sqlite3",
        # A file: an in-memory database cannot be shared by threads without table locks.
        "TEST": {"NAME": _folder / "test.sqlite3"},
    },
}
MEDIA_ROOT = _folder / "files"
PASSWORD_HASHERS = ["django.contrib.auth.hashers.MD5PasswordHasher"]
