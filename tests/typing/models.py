"""Clients of language models, whose messages are of types like these."""

from collections.abc import Iterable
from typing import Literal, NotRequired, TypedDict

from chatsessions import chat_context


class Part(TypedDict):
    type: Literal["text"]
    text: str


class UserParam(TypedDict):
    role: Literal["user"]
    content: str | Iterable[Part]
    name: NotRequired[str]


class AssistantParam(TypedDict):
    role: Literal["assistant"]
    content: NotRequired[str | Iterable[Part] | None]


def complete(*, messages: Iterable[UserParam | AssistantParam]) -> str:
    return str(messages)


async def ask() -> str:
    messages = chat_context.to_openai()
    messages.insert(0, {"role": "system", "content": "Be kind."})
    said: list[str] = [message["content"] for message in messages]
    said += complete(messages=await chat_context.ato_openai())
    return complete(messages=messages)
