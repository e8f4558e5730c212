"""A language model for bots under test, in the shape of an OpenAI client."""

import asyncio
import json
from dataclasses import dataclass, field
from types import SimpleNamespace


@dataclass
class Function:
    name: str
    arguments: str


@dataclass
class ToolCall:
    id: str
    function: Function
    type: str = "function"


@dataclass
class Reply:
    role: str = "assistant"
    content: str | None = None
    tool_calls: list[ToolCall] = field(default_factory=list)


class Completions:
    async def create(self, *, messages, model="small", stream=False, tools=(), **_settings):
        """Say which message of the user this is, or call the tool that is named in it."""
        last = messages[-1]
        content = last["content"]
        if tools and last["role"] == "user":
            name = tools[0]["function"]["name"]
            call = ToolCall("call_1", Function(name, json.dumps({"city": content, "days": 2})))
            return SimpleNamespace(choices=[SimpleNamespace(message=Reply(tool_calls=[call]))])
        if last["role"] == "tool":
            text = f"I looked it up: {content}"
        else:
            users = [one["content"] for one in messages if one["role"] == "user"]
            text = f"This is your message {len(users)}. The first was: {users[0]}"
        if stream:
            return self._stream(text)
        return SimpleNamespace(choices=[SimpleNamespace(message=Reply(content=text))])

    async def _stream(self, text):
        # The first piece has no text, and neither has the last, as in the real thing.
        for piece in [None, *text.split(" "), ""]:
            await asyncio.sleep(0)
            token = piece and f"{piece} "
            yield SimpleNamespace(choices=[SimpleNamespace(delta=SimpleNamespace(content=token))])


class AsyncClient:
    """It has a socket in real life, so it cannot be stored."""

    def __init__(self):
        self.lock = asyncio.Lock()
        self.chat = SimpleNamespace(completions=Completions())
