"""
``python -m demo_project``: migrate, make an administrator, and serve.

What ``make demo`` runs. A second start finds everything in place.
"""

import argparse
import os
import secrets
import socket
import sys

import django
from django.core.management import call_command

ADMIN = "admin"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_project", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    options = parser.parse_args()

    _check_port(options.host, options.port)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    django.setup()
    call_command("migrate", verbosity=0)
    password = _admin_password()

    address = f"http://{options.host}:{options.port}"
    # stdout may be a file or a pipe; whoever waits for these lines should not wait for more.
    print(f"\n  Chat page   {address}/", flush=True)  # noqa: T201
    print(f"  Admin       {address}/admin/", flush=True)  # noqa: T201
    print(f"  Log in as   {ADMIN} / {password}\n", flush=True)  # noqa: T201
    print("  Stop with Ctrl-C. What you do here is kept in var/.\n", flush=True)  # noqa: T201
    sys.argv = ["daphne", "-b", options.host, "-p", str(options.port), "-v", "0"]
    sys.argv.append("demo_project.asgi:application")
    _serve()


def _check_port(host: str, port: int) -> None:
    """Say at once, and in words, that somebody else listens there."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        sys.exit(f"Cannot listen on {host}:{port} ({error}). Try: make demo PORT={port + 1}")


def _admin_password() -> str:
    """The password of the demo's administrator, made with them at the first start."""
    from django.conf import settings
    from django.contrib.auth import get_user_model

    path = settings.DATA_DIR / "admin_password"
    users = get_user_model()._default_manager
    if not path.exists() or not users.filter(username=ADMIN).exists():
        path.write_text(secrets.token_urlsafe(9))
        path.chmod(0o600)
        user, _ = users.get_or_create(username=ADMIN, defaults={"email": "admin@example.com"})
        user.is_staff = user.is_superuser = True
        user.set_password(path.read_text())
        user.save()
    return str(path.read_text())


def _serve() -> None:
    from daphne.cli import CommandLineInterface

    CommandLineInterface.entrypoint()


if __name__ == "__main__":
    main()
