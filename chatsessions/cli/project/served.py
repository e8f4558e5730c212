"""The bots that this process serves, and what keeps one from being served."""

from __future__ import annotations

import json
import logging
import os
from dataclasses import dataclass, field
from functools import cache

from chatsessions.cli.bots import BotName, explained, parse_bots
from chatsessions.handlers.chat import Chat

logger = logging.getLogger("chatsessions.run")

#: The variable that has the bots of the command line, as a JSON list.
VARIABLE = "CHATSESSIONS_BOTS"


@dataclass(frozen=True, slots=True, kw_only=True)
class ServedBot:
    """A bot, and its addresses."""

    name: BotName
    chat: Chat

    @property
    def title(self) -> str:
        return self.name.title

    @property
    def slug(self) -> str:
        return self.name.slug

    @property
    def route(self) -> str:
        """The route of its websocket."""
        return f"ws/{self.slug}/"


@dataclass(slots=True, kw_only=True)
class Problem:
    """Why a bot cannot be served."""

    bot: str
    text: str


@dataclass(slots=True, kw_only=True)
class Served:
    """All bots of the command line: those that work, and what is wrong with the others."""

    bots: list[ServedBot] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)


@cache
def served() -> Served:
    """Import the bots, once. Django has to be set up."""
    found = Served()
    for name in parse_bots(json.loads(os.environ[VARIABLE])):
        with explained() as problem:
            found.bots.append(ServedBot(name=name, chat=name.load()))
        if problem:
            shown = str(name.file or name.module)
            found.problems.append(Problem(bot=shown, text=problem[0]))
            logger.error("%s cannot be served:\n%s", shown, problem[0])
    return found
