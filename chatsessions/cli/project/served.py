"""The bots that this process serves, and the problems of those that it cannot serve."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from functools import cache

from chatsessions.cli.bots import BotName, describe_failure
from chatsessions.handlers.chat import Chat

logger = logging.getLogger("chatsessions.run")

#: The environment variable with the bots of the command line, as a JSON list.
VARIABLE = "CHATSESSIONS_BOTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class Served:
    """The bots of the command line: the chats of those that work, the problems of the others."""

    bots: dict[BotName, Chat] = field(default_factory=dict)
    #: By file or module: what is wrong.
    problems: dict[str, str] = field(default_factory=dict)


@cache
def served() -> Served:
    """Import the bots, once. Django has to be set up."""
    found = Served()
    for name in json.loads(os.environ[VARIABLE]):
        try:
            bot = BotName.parse(name)
            found.bots[bot] = bot.load()
        except (Exception, SystemExit) as error:  # a bot's file may raise anything
            found.problems[name] = describe_failure(error)
            logger.error("%s cannot be served:\n%s", name, found.problems[name])
    if found.problems:
        # The page asks again and again until the bot is corrected, and its 503 is no news.
        logging.getLogger("django.request").setLevel(logging.CRITICAL)
    return found


def route(bot: BotName) -> str:
    """Return the route of a bot's websocket."""
    return f"ws/{bot.slug}/"
