"""Find the bots named on the command line, import them, and serve those that work."""

from __future__ import annotations

import importlib
import json
import logging
import os
import re
import sys
from collections.abc import Iterable
from dataclasses import dataclass, field
from functools import cache
from importlib.machinery import PathFinder
from importlib.util import find_spec
from pathlib import Path
from traceback import TracebackException

from chatsessions.exceptions import ChatError
from chatsessions.handlers.chat import Chat, resolve_chat

from . import CommandFailed

logger = logging.getLogger("chatsessions.run")

#: The environment variable with the bots of the command line, as a JSON list.
VARIABLE = "CHATSESSIONS_BOTS"
#: Frames of files in these folders are left out at both ends of a bot's traceback.
PACKAGE = str(Path(__file__).parent.parent)
IMPORTLIB = str(Path(importlib.__file__).parent)


@dataclass(frozen=True, slots=True, kw_only=True)
class BotName:
    """A bot as the command line names it."""

    #: The module's name, such as ``counter_bot`` or ``shop.bots``.
    module: str
    #: The name of the ``Chat`` in the module; empty for the module's own.
    attribute: str = ""
    #: The file; None for a module on Python's path.
    file: Path | None = None

    @classmethod
    def parse(cls, text: str) -> BotName:
        """
        Return the bot that ``text`` names: a file, a module, or ``module:attribute``.

        Raises ``CommandFailed`` for a file that does not exist and for a name that is not valid.
        """
        name, attribute = text, ""
        # The colon of a Windows drive is followed by a slash.
        if (match := re.fullmatch(r"(.+):([A-Za-z_]\w*)", text)) is not None:
            name, attribute = match.groups()
        path = Path(name)
        if path.suffix == ".py" or len(path.parts) > 1:
            return cls(module=path.stem, attribute=attribute, file=_file(path))
        if not all(part.isidentifier() for part in name.split(".")):
            raise CommandFailed(
                f"{text!r} is neither a file nor a module. Write a file such as bot.py, a module "
                "such as shop.bots, or one of its chats: shop.bots:support."
            )
        if "." not in name and (path := Path(f"{name}.py")).is_file():
            return cls(module=name, attribute=attribute, file=_file(path))
        top = name.split(".")[0]
        if PathFinder.find_spec(top, [str(Path.cwd()), *sys.path]) is None:
            nor = f", and no file {path}. {_near(path)}" if top == name else "."
            raise CommandFailed(f"There is no module {top}{nor}")
        return cls(module=name, attribute=attribute)

    @property
    def folder(self) -> Path:
        """The folder that is added to Python's path, for the imports of the bot."""
        return Path.cwd() if self.file is None else self.file.parent

    @property
    def chat_path(self) -> str:
        """The dotted path of its chat, or of its module."""
        return ".".join(filter(None, [self.module, self.attribute]))

    @property
    def title(self) -> str:
        """The name to show to people: ``Counter bot`` for ``counter_bot.py``."""
        name = self.attribute if self.attribute not in ("", "chat") else self.module.split(".")[-1]
        return name.replace("_", " ").replace("-", " ").strip().capitalize() or name

    @property
    def slug(self) -> str:
        """The name in the bot's URLs."""
        return re.sub(r"[^a-z0-9]+", "-", self.title.lower()).strip("-") or "bot"

    @property
    def route(self) -> str:
        """The route of its websocket."""
        return f"ws/{self.slug}/"

    def load(self) -> Chat:
        """
        Import the bot and return its chat.

        Raises ``ChatError`` if the module has no chat, and any error that the module raises.
        """
        folder = str(self.folder)
        if folder not in sys.path:
            sys.path.insert(0, folder)
        if self.file is not None:
            self._check_name(self.file)
        return resolve_chat(self.chat_path)

    def _check_name(self, file: Path) -> None:
        """Raise ``ChatError`` if the file hides a module of the same name, or is hidden by it."""
        if known := sys.modules.get(self.module):
            found = getattr(known, "__file__", None)
        else:
            spec = find_spec(self.module)
            found = None if spec is None else spec.origin
        if found is None or Path(found).resolve() != file or self.module in sys.stdlib_module_names:
            raise ChatError(
                f"{file.name} has the name of the module {self.module!r}, which others import. "
                f"Rename it, for instance to {self.module}_bot.py."
            )


def _file(path: Path) -> Path:
    if not path.is_file():
        raise CommandFailed(f"There is no file {path}. {_near(path)}".strip())
    return path.resolve()


def _near(path: Path) -> str:
    """Return a hint that names the Python files in the same folder."""
    folder = path.parent
    if not folder.is_dir():
        return f"There is no folder {folder} either."
    names = sorted(file.name for file in folder.glob("*.py"))
    return f"In {folder.resolve()} there are: {', '.join(names[:10])}." if names else ""


def parse_bots(texts: Iterable[str]) -> list[BotName]:
    """Return the bots of a command line. Raises ``CommandFailed`` if two have the same URL."""
    bots = [BotName.parse(text) for text in texts]
    if not bots:
        files = sorted(file.name for file in Path.cwd().glob("*.py"))
        raise CommandFailed(
            "Which bot? Write its file: chatsessions run counter_bot.py -w"
            + (f"\nHere are: {', '.join(files[:10])}." if files else "")
        )
    slugs: dict[str, BotName] = {}
    for bot in bots:
        other = slugs.setdefault(bot.slug, bot)
        if other is not bot:
            raise CommandFailed(
                f"{bot.title!r} is given twice, and both would be served at /{bot.slug}/."
            )
    return bots


def describe_failure(error: BaseException) -> str:
    """Return the error of importing a bot as text: a traceback that begins at the bot's file."""
    if isinstance(error, ChatError | CommandFailed):
        return str(error)
    report = TracebackException.from_exception(error)
    while report.stack and _is_machinery(report.stack[0].filename):
        del report.stack[0]
    while report.stack and _is_machinery(report.stack[-1].filename):
        del report.stack[-1]
    text = "".join(report.format()).strip()
    if isinstance(error, ModuleNotFoundError) and (error.name or "").split(".")[0] == "chainlit":
        text += "\n\nBots of Chainlit run here, too: 'chatsessions port FILE' changes its imports."
    return text


def _is_machinery(filename: str) -> bool:
    return filename.startswith((PACKAGE, IMPORTLIB, "<frozen importlib"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The bots of the command line: the chats of those that work, the problems of the others."""

    bots: dict[BotName, Chat] = field(default_factory=dict)
    #: What is wrong with a bot, by its file or module.
    problems: dict[str, str] = field(default_factory=dict)


@cache
def served() -> Served:
    """Import the bots, once per process. Django has to be set up."""
    found = Served()
    for name in json.loads(os.environ[VARIABLE]):
        try:
            bot = BotName.parse(name)
            found.bots[bot] = bot.load()
        except (Exception, SystemExit) as error:  # a bot's file may raise anything
            found.problems[name] = describe_failure(error)
            logger.error("%s cannot be served:\n%s", name, found.problems[name])
    if found.problems:
        # The page reloads until the bot is corrected. Its 503 responses would fill the log.
        logging.getLogger("django.request").setLevel(logging.CRITICAL)
    return found
