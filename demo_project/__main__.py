"""
``python -m demo_project``: migrate, make an administrator, and serve.

What ``make demo`` runs. A second start finds everything in place; several at once wait for the
first to have migrated. With ``--prepare`` it is over before it serves.
"""

import argparse
import os
import secrets
import socket
import sys
from pathlib import Path

import django
from django.core.exceptions import ImproperlyConfigured
from django.core.management import call_command

ADMIN = "admin"


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m demo_project", description=__doc__)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8000)
    parser.add_argument(
        "--prepare", action="store_true", help="make the database ready, and do not serve"
    )
    options = parser.parse_args()

    if not options.prepare:
        _check_port(options.host, options.port)
    os.environ.setdefault("DJANGO_SETTINGS_MODULE", "demo_project.settings")
    try:
        django.setup()
    except ImproperlyConfigured as error:
        sys.exit(str(error))
    login = _prepare()

    # Flush each line: stdout may be a file or a pipe, whose reader waits for these lines.
    if not options.prepare:
        address = f"http://{options.host}:{options.port}"
        print(f"\n  Chat page   {address}/", flush=True)  # noqa: T201
        print(f"  Admin       {address}/admin/", flush=True)  # noqa: T201
    print(f"  Log in as   {login}\n", flush=True)  # noqa: T201
    if options.prepare:
        return
    print(f"  Stop with Ctrl-C. What you do here is kept in {_kept_in()}.\n", flush=True)  # noqa: T201
    sys.argv = ["daphne", "-b", options.host, "-p", str(options.port), "-v", "0"]
    sys.argv.append("demo_project.asgi:application")
    _serve()


def _check_port(host: str, port: int) -> None:
    """Exit with a message if another process listens on the port."""
    try:
        socket.create_server((host, port)).close()
    except OSError as error:
        sys.exit(f"Cannot listen on {host}:{port} ({error}). Try: make demo PORT={port + 1}")


def _prepare() -> str:
    """Migrate, make the administrator at the first start, and return how to log in."""
    from .services import ServiceUnreachable, check_reachable, migrating_alone

    try:
        check_reachable()
    except ServiceUnreachable as error:
        sys.exit(str(error))
    with migrating_alone():
        call_command("migrate", verbosity=0)
        return _admin()


def _admin() -> str:
    """
    Make the administrator if there is none; return the name and the password.

    A file beside the database keeps the password.
    """
    from django.conf import settings
    from django.contrib.auth import get_user_model

    path: Path = settings.DATA_DIR / "admin_password"
    users = get_user_model()._default_manager
    user = users.filter(username=ADMIN).first()
    if user is None:
        path.touch(mode=0o600)
        path.write_text(secrets.token_urlsafe(9))
        users.create_superuser(ADMIN, "admin@example.com", path.read_text())
    elif not path.exists() or not user.check_password(path.read_text()):
        return f"{ADMIN}, with the password that you know (python manage.py changepassword {ADMIN})"
    return f"{ADMIN} / {path.read_text()}"


def _kept_in() -> str:
    from django.conf import settings

    services = [name for name in ("DATABASE_URL", "REDIS_URL") if getattr(settings, name)]
    return " and ".join(
        [f"{settings.DATA_DIR.name}/", *(f"what {name} names" for name in services)]
    )


def _serve() -> None:
    from daphne.cli import CommandLineInterface

    CommandLineInterface.entrypoint()


if __name__ == "__main__":
    main()
