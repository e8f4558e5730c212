"""``chatsessions startproject``: make a Django project, from a bot's file if there is one."""

from __future__ import annotations

import argparse
import ast
import keyword
import shutil
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import django
from django.conf import settings
from django.core.management.base import CommandError
from django.core.management.commands.startproject import Command as StartProject

from . import CommandFailed
from .bots import BotName
from .data import copy_database

TEMPLATE = Path(__file__).parent / "project_template"
#: Folders of the new project, whose names the project itself cannot have.
TAKEN = {"bots", "templates", "tests", "data"}

NEXT_STEPS = """\
{name}/ is a Django project with the bot in bots/{module}.py. To run it:

  cd {name}
  pip install -e ".[dev]"
  python manage.py migrate
  python manage.py createsuperuser
  python manage.py runserver

Its README.md says how to test and deploy it.
"""


def startproject(options: argparse.Namespace) -> int:
    """
    Make the project of the command line in a folder of its name, with its bot or a counter in it.

    ``--with-data`` copies the data that ``chatsessions run`` has kept for the bot. Raise
    ``CommandFailed`` if the project cannot be made.
    """
    name: str = options.name
    target = Path(name).resolve()
    if not name.isidentifier() or keyword.iskeyword(name) or name in TAKEN:
        raise CommandFailed(
            f"{name!r} cannot be a project's name: it is a Python package, so write letters, "
            f"digits and underscores, and none of {', '.join(sorted(TAKEN))}."
        )
    if target.exists():
        raise CommandFailed(f"{target} is there already.")
    if options.bot is None:
        if options.with_data:
            raise CommandFailed("--with-data copies the data of a bot: name it with --from.")
        _make(name, BotName(module="counter"))
        sys.stdout.write(NEXT_STEPS.format(name=name, module="counter"))
        return 0
    bot = BotName.parse(str(options.bot))
    if bot.file is None:
        raise CommandFailed(
            f"--from takes a file, such as counter_bot.py, and {options.bot} is a module."
        )
    if not bot.module.isidentifier():
        raise CommandFailed(
            f"{bot.module}.py cannot be imported under that name. Rename it first, for instance "
            f"to {bot.slug.replace('-', '_')}.py."
        )
    kept = bot.folder / ".chatsessions"
    if options.with_data and not (kept / "db.sqlite3").is_file():
        raise CommandFailed(f"There is no database in {kept}: leave out --with-data.")
    _make(name, bot)
    (target / "bots" / "counter.py").unlink()  # first: the bot may have this name
    shutil.copyfile(bot.file, target / "bots" / bot.file.name)
    if options.with_data:
        _take_along(kept, target / "data", bot)
    sys.stdout.write(NEXT_STEPS.format(name=name, module=bot.module))
    if beside := _imports_beside(bot.file):
        sys.stdout.write(
            f"\nThe bot imports {', '.join(beside)} from its own folder: copy them to {name}/, "
            "beside manage.py.\n"
        )
    return 0


def _imports_beside(file: Path) -> list[str]:
    """Return the files and folders beside ``file`` that it imports."""
    names: set[str] = set()
    try:
        tree = ast.parse(file.read_bytes())
    except SyntaxError:  # reported when the bot is run
        return []
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names |= {alias.name.split(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names.add(node.module.split(".")[0])
    beside = [file.with_name(f"{name}.py") for name in names]
    beside += [file.with_name(name) for name in names]
    return sorted(path.name for path in beside if path.is_file() or any(path.glob("*.py")))


def _make(name: str, bot: BotName) -> None:
    if not settings.configured:
        settings.configure()
        django.setup()
    try:
        StartProject().handle(
            name=name,
            directory=None,
            template=str(TEMPLATE),
            extensions=["py", "md", "toml", "yaml"],
            files=["Dockerfile"],
            exclude=[],
            verbosity=0,
            bot_module=bot.module,
            bot_path=f"bots.{bot.chat_path}",
            bot_slug=bot.slug,
            bot_title=bot.title,
        )
    except CommandError as error:
        raise CommandFailed(str(error)) from error
    (Path(name) / "gitignore").rename(Path(name) / ".gitignore")


def _take_along(kept: Path, data: Path, bot: BotName) -> None:
    """Copy the database and the files, with the new name of the bot's module."""
    data.mkdir(exist_ok=True)
    copy_database(kept / "db.sqlite3", data / "db.sqlite3")
    with closing(sqlite3.connect(data / "db.sqlite3")) as database, database:
        database.execute(
            "UPDATE chatsessions_chatsession SET chat = ? WHERE chat = ?",
            (f"bots.{bot.module}", bot.module),
        )
    if (kept / "files").is_dir():
        shutil.copytree(kept / "files", data / "files")
