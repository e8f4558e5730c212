"""
``python -m tests.matrix``: tests on the newest other supported Python of this machine.

Python 3.12 and later come with the newest Django. It has an environment of its own beside the
first one, where all tests ran already.
"""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VERSIONS = ("3.11", "3.12", "3.13")
#: One of each way by which applications meet Python and Django: annotations, signatures, context
#: variables, threads, classes that are stored; and of Django the admin, system checks, templates,
#: requests, uploads, SQL and test cases. What is built upon these meets no version by itself.
TESTS = [
    f"tests/test_{name}.py"
    for name in (
        "admin",
        "asgi",
        "checks",
        "context_variables",
        "files_views",
        "http",
        "lifespan",
        "pydantic",
        "serializer",
        "store",
        "sync_helpers",
        "templatetags",
        "testing",
    )
] + ["tests/chainlit/adapter/test_signatures.py"]
#: What they need; neither mypy nor browsers.
NEEDED = [
    ".[demo,postgres,redis,uvicorn,chainlit,testing]",
    *("hypothesis", "jsonschema", "polib", "psutil", "psycopg-pool", "pydantic"),
    *("pytest-randomly", "pytest-timeout", "pytest-xdist"),
]


def interpreters() -> dict[str, str]:
    """A working interpreter for each supported version other than the running one."""
    found = {}
    for version in VERSIONS:
        if version == f"{sys.version_info.major}.{sys.version_info.minor}":
            continue
        pyenv = sorted(Path.home().glob(f".pyenv/versions/{version}.*/bin/python3"))
        for candidate in (*pyenv, shutil.which(f"python{version}")):
            if candidate is not None and _works(str(candidate)):
                found[version] = str(candidate)
                break
    return found


def _works(python: str) -> bool:
    check = [python, "-c", "import ensurepip, venv"]
    return subprocess.run(check, capture_output=True, check=False).returncode == 0


def run(version: str, python: str) -> None:
    folder = ROOT / f".venv-{version}"
    stamp = folder / ".installed"
    sources = (ROOT / "pyproject.toml", ROOT / "requirements.lock")
    if not stamp.exists() or any(s.stat().st_mtime > stamp.stat().st_mtime for s in sources):
        subprocess.run([python, "-m", "venv", folder], check=True)
        pip = [folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--no-compile"]
        pip += ["--disable-pip-version-check", "-c", "requirements.lock", "-e", *NEEDED]
        subprocess.run(pip, check=True, cwd=ROOT)
        stamp.touch()
    own = folder / "bin" / "python"
    tell = (
        "import django, sys; print('Python', sys.version.split()[0], 'Django', django.__version__)"
    )
    subprocess.run([own, "-c", tell], check=True)
    tests = [own, "-m", "pytest", "-q", "-n", "2", "--dist", "worksteal", *TESTS]
    subprocess.run(tests, check=True, cwd=ROOT)


if __name__ == "__main__":
    others = interpreters()
    if others:
        # The newest, with the newest Django.
        newest = max(others, key=VERSIONS.index)
        run(newest, others[newest])
