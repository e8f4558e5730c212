"""``chatsessions``: the command line, its options and its help."""

from __future__ import annotations

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from pathlib import Path

import chatsessions

from . import CommandFailed

RUN_EXAMPLES = """\
examples:
  chatsessions run counter_bot.py -w          serve one bot, and reload it when it is saved
  chatsessions run counter.py quiz.py         several bots, with a start page
  chatsessions run shop.bots:support          the Chat named 'support' in the module shop.bots
"""

PORT_EXAMPLES = """\
examples:
  chatsessions port bot.py                    change its imports, and say what differs
  chatsessions port --diff bot.py             show what would change, and write nothing
  chatsessions port --check bots/             exit with 1 if a file imports Chainlit
"""


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = _parser().parse_args(arguments)
    try:
        # Each command is a module with a function of its name, and needs packages of its own.
        module = import_module(f".{options.command}", __package__)
        code: int = getattr(module, options.command)(options)
    except CommandFailed as error:
        sys.stderr.write(f"chatsessions {options.command}: {error}\n")
        return 1
    except KeyboardInterrupt:
        return 130
    return code


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="chatsessions", description="Stateful conversations over websockets for Django."
    )
    parser.add_argument("--version", action="version", version=chatsessions.__version__)
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    _add_run(commands)
    _add_startproject(commands)
    _add_port(commands)
    return parser


def _add_run(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    run = commands.add_parser(
        "run",
        help="serve bots without a Django project",
        description=(
            "Serve one bot or several: the chat page, the admin, uploads and the HTTP API. "
            "Its data is kept in .chatsessions/ beside the first bot."
        ),
        epilog=RUN_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    run.add_argument(
        "bots",
        nargs="*",
        metavar="BOT",
        help="a file, a module (shop.bots), or a Chat in one (shop.bots:support, bot.py:support)",
    )
    run.add_argument("-w", "--watch", action="store_true", help="reload when a file is saved")
    run.add_argument("--host", default="127.0.0.1", help="the address to listen on (%(default)s)")
    run.add_argument("--port", type=_port, help="the port to listen on (8000)")
    run.add_argument("--headless", action="store_true", help="do not open a browser")
    run.add_argument("--root-path", default="", help="the path under which a proxy serves this")
    run.add_argument(
        "--workers",
        type=_positive,
        default=1,
        help="server processes; more than one needs DATABASE_URL and REDIS_URL",
    )
    run.add_argument("--no-admin", action="store_true", help="serve no admin")
    run.add_argument(
        "--new-password", action="store_true", help="give the administrator a new password"
    )
    run.add_argument("--debug", action="store_true", help="Django's DEBUG, and more in the log")
    run.add_argument("--data", type=Path, help="the folder to keep data in (.chatsessions)")
    run.add_argument("--ssl-certfile", type=Path, help="serve https with this certificate")
    run.add_argument("--ssl-keyfile", type=Path, help="the key of the certificate")
    run.add_argument(
        "--show-settings", action="store_true", help="print the Django settings in use, and exit"
    )


def _add_startproject(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    start = commands.add_parser(
        "startproject",
        help="make a Django project with a chat in it",
        description="Make a Django project with a chat in it, from a bot's file if you name one.",
    )
    start.add_argument("name", help="the project's name, and its folder's")
    start.add_argument(
        "--from", dest="bot", type=Path, metavar="BOT", help="the bot's file to put into it"
    )
    start.add_argument(
        "--with-data",
        action="store_true",
        help="copy the database and files that 'chatsessions run' has kept for the bot",
    )


def _add_port(commands: argparse._SubParsersAction[argparse.ArgumentParser]) -> None:
    port = commands.add_parser(
        "port",
        help="have a bot written for Chainlit import chatsessions.chainlit",
        description=(
            "Change the imports of Chainlit in Python files to chatsessions.chainlit, and nothing "
            "else. Names that differ or are not here are reported, with file and line."
        ),
        epilog=PORT_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    port.add_argument(
        "paths",
        nargs="+",
        type=Path,
        metavar="FILE",
        help="a Python file, or a folder: then all in it and below",
    )
    how = port.add_mutually_exclusive_group()
    how.add_argument("--diff", action="store_true", help="print what would change; write nothing")
    how.add_argument(
        "--check", action="store_true", help="write nothing; exit with 1 if a file would change"
    )


def _port(text: str) -> int:
    if not text.isdigit() or not 0 < int(text) < 65536:
        raise argparse.ArgumentTypeError(f"{text!r} is no port; write a number from 1 to 65535")
    return int(text)


def _positive(text: str) -> int:
    if not text.isdigit() or not int(text):
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number of at least 1")
    return int(text)
