"""``manage.py startchat counter``: make a bot, the route of its websocket, and its page."""

from __future__ import annotations

import ast
import importlib.util
import io
import keyword
import tokenize
from itertools import accumulate
from pathlib import Path
from typing import Any

from django.conf import settings
from django.core.management.base import BaseCommand, CommandError, CommandParser
from django.urls import is_valid_path

BOT = """\
from chatsessions import Chat, Message, user_session

chat = Chat("{name}")


@chat.on_chat_start
async def start():
    user_session.set("message_count", 0)
    await Message(content="Hi! I'll count how many messages you send.").send()


@chat.on_message
async def handle(message: Message):
    count = user_session.get("message_count", 0) + 1
    user_session.set("message_count", count)
    await Message(content=f"You have sent {{count}} message(s)!").send()
"""

ASGI_IMPORT = "from chatsessions.asgi import get_chat_application"
PAGE_IMPORT = "from chatsessions.views import ChatPage"


class Command(BaseCommand):
    """Make a bot in ``bots/``, route its websocket in ``asgi.py``, and give it a page."""

    help = (
        "Make a bot in bots/, route its websocket in asgi.py and its page in urls.py. What cannot "
        "be changed safely is printed instead, for you to paste."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("name", help="the chat's name, such as counter")
        parser.add_argument("--dry-run", action="store_true", help="print what would be done")

    def handle(self, *, name: str, dry_run: bool, **_: Any) -> None:
        """Make the chat. Raises ``CommandError`` for a name that is not valid or is taken."""
        if not name.isidentifier() or keyword.iskeyword(name):
            raise CommandError(
                f"{name!r} cannot be a chat's name: it becomes a Python module, so write letters, "
                "digits and underscores."
            )
        urls = _file_of(settings.ROOT_URLCONF)
        if urls is None:
            raise CommandError(f"ROOT_URLCONF is {settings.ROOT_URLCONF!r}, which has no file.")
        bot = _root_of(settings.ROOT_URLCONF, urls) / "bots" / f"{name}.py"
        if bot.exists():
            raise CommandError(f"{bot} is there already. Choose another name, or edit that.")
        chat, route = f"bots.{name}.chat", f"ws/{name}/"
        page = f"{name}/" if is_valid_path("/") else ""
        asgi_entry = f'"{route}": "{chat}"'
        page_entry = f'path("{page}", ChatPage.as_view(chat="{chat}", url="{route}"))'
        self._dry_run = dry_run
        self._write(bot, BOT.format(name=name))
        if not (bot.parent / "__init__.py").exists():
            self._write(bot.parent / "__init__.py", "")
        asgi = _file_of(_asgi_module())
        self._change(
            asgi,
            None if asgi is None else with_route(asgi.read_text("utf-8"), asgi_entry),
            f"\n    {ASGI_IMPORT}\n\n    application = get_chat_application({{{asgi_entry}}})\n",
        )
        self._change(
            urls,
            with_page(urls.read_text("utf-8"), page_entry),
            f"\n    {PAGE_IMPORT}\n\n    urlpatterns += [{page_entry}]\n",
        )
        self._advise_on_settings()

    def _write(self, path: Path, text: str) -> None:
        self.stdout.write(f"{'Would write' if self._dry_run else 'Wrote'} {path}")
        if not self._dry_run:
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")

    def _change(self, path: Path | None, text: str | None, advice: str) -> None:
        if path is not None and text is not None:
            self._write(path, text)
        else:
            where = path or "your asgi.py"
            self.stdout.write(f"\n{where} is not one that can be changed safely. Paste there:\n")
            self.stdout.write(advice)

    def _advise_on_settings(self) -> None:
        """Print what is missing in the settings."""
        if not getattr(settings, "ASGI_APPLICATION", None):
            self.stdout.write(
                "\nYour settings name no ASGI application. Write there:\n\n"
                f'    ASGI_APPLICATION = "{_asgi_module()}.application"'
            )
        if "daphne" not in settings.INSTALLED_APPS:
            self.stdout.write(
                '\nDjango\'s own runserver speaks no websockets. Put "daphne" first in '
                "INSTALLED_APPS, or serve the project with another ASGI server."
            )


def _asgi_module() -> str:
    """Return the module of ``ASGI_APPLICATION``; by default ``asgi`` beside the root URLconf."""
    application: str | None = getattr(settings, "ASGI_APPLICATION", None)
    if application:
        return application.rpartition(".")[0]
    return f"{settings.ROOT_URLCONF.rpartition('.')[0]}.asgi".removeprefix(".")


def _file_of(module: str) -> Path | None:
    try:
        spec = importlib.util.find_spec(module)
    except (ImportError, ValueError):
        return None
    return None if spec is None or spec.origin is None else Path(spec.origin)


def _root_of(module: str, file: Path) -> Path:
    """Return the folder from which ``module`` is imported: its ``file`` is as deep as its name."""
    return file.parents[module.count(".") + (file.name == "__init__.py")]


def with_route(source: str, entry: str) -> str | None:
    """
    Return the source of an ``asgi.py`` with the route of a chat's websocket added.

    The file has to be Django's own, or call ``get_chat_application()`` with a dict. Return None for
    any other, which cannot be changed safely.
    """
    call = _assigned(source, "application")
    if not isinstance(call, ast.Call):
        return None
    function = ast.unparse(call.func)
    if function == "get_asgi_application" and not call.args:
        source = _replaced(source, call, f"get_chat_application({{{entry}}})")
        return source.replace("from django.core.asgi import get_asgi_application", ASGI_IMPORT)
    if function == "get_chat_application" and call.args and isinstance(call.args[0], ast.Dict):
        return _with_item(source, call.args[0], entry)
    return None


def with_page(source: str, entry: str) -> str | None:
    """
    Return the source of a ``urls.py`` with a chat's page added.

    Return None for a file without a plain ``urlpatterns = […]`` and an import of ``path``.
    """
    found = _assigned(source, "urlpatterns")
    if not isinstance(found, ast.List):
        return None
    # Names imported below the list cannot be used in it.
    imports = [
        node
        for node in ast.parse(source).body
        if isinstance(node, ast.Import | ast.ImportFrom) and node.lineno < found.lineno
    ]
    modules = {
        alias.asname or alias.name: getattr(node, "module", None)
        for node in imports
        for alias in node.names
    }
    if modules.get("path") != "django.urls":
        return None
    changed = _with_item(source, found, entry)
    if modules.get("ChatPage") == "chatsessions.views":
        return changed
    last = max(node.end_lineno or 0 for node in imports)
    lines = _lines(changed)
    return "".join([*lines[:last], f"\n{PAGE_IMPORT}\n", *lines[last:]])


def _assigned(source: str, name: str) -> ast.expr | None:
    """Return the value of ``name`` if it is set once, at the top level of the module."""
    try:
        tree = ast.parse(source)
    except SyntaxError:
        return None
    found = [
        node.value
        for node in tree.body
        if isinstance(node, ast.Assign) and [ast.unparse(one) for one in node.targets] == [name]
    ]
    return found[0] if len(found) == 1 else None


def _lines(source: str) -> list[str]:
    """Return the lines as Python counts them: a form feed does not end one."""
    return io.StringIO(source).readlines()


def _offset(source: str, line: int, column: int) -> int:
    """Return the index in the text of an ``ast`` position, which counts bytes."""
    lines = _lines(source)
    before = lines[line - 1].encode()[:column].decode()
    return sum(map(len, lines[: line - 1])) + len(before)


def _replaced(source: str, node: ast.expr, text: str) -> str:
    start = _offset(source, node.lineno, node.col_offset)
    end = _offset(source, node.end_lineno or 0, node.end_col_offset or 0)
    return source[:start] + text + source[end:]


def _with_item(source: str, node: ast.List | ast.Dict, item: str) -> str:
    """Return the source with ``item`` added to a list or dict, each item on its own line."""
    there = _items(source, node)
    if node.lineno == node.end_lineno:
        opening, closing = "[]" if isinstance(node, ast.List) else "{}"
        lines = "".join(f"    {one},\n" for one in [*there, item])
        return _replaced(source, node, f"{opening}\n{lines}{closing}")
    end = _offset(source, node.end_lineno or 0, node.end_col_offset or 0) - 1
    last = _code_before(source, end)
    comma = "," if there and source[last - 1] != "," else ""
    comments = source[last:end].rstrip()
    return f"{source[:last]}{comma}{comments}\n    {item},\n{source[end:]}"


def _code_before(source: str, end: int) -> int:
    """Return the index behind the last code before the index ``end``; comments may follow it."""
    starts = [0, *accumulate(map(len, _lines(source)))]
    last = 0
    for token in tokenize.generate_tokens(io.StringIO(source).readline):
        index = starts[token.end[0] - 1] + token.end[1]
        if index > end:
            break
        if token.type not in (tokenize.COMMENT, tokenize.NL):
            last = index
    return last


def _items(source: str, node: ast.List | ast.Dict) -> list[str]:
    """Return the source of each item of a list or dict."""

    def text(part: ast.expr) -> str:
        return ast.get_source_segment(source, part) or ""

    if isinstance(node, ast.List):
        return [text(one) for one in node.elts]
    return [
        f"**{text(value)}" if key is None else f"{text(key)}: {text(value)}"
        for key, value in zip(node.keys, node.values, strict=True)
    ]
