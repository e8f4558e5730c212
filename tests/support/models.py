"""
Imitations of the services of language models, after their public references.

They check requests as the real services do, and stream the answers that a test has put into
``script``. They have no model.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import deque
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import uvicorn


@dataclass
class Say:
    """An answer, token by token. An endless answer repeats its last token."""

    tokens: list[str]
    endless: bool = False


@dataclass
class Call:
    """An answer that asks for a call of a tool."""

    name: str
    arguments: dict[str, Any]


class Refused(Exception):
    """A request breaks the rules of the service, which answers with the status 400."""


def demand(condition: object, otherwise: str) -> None:
    if not condition:
        raise Refused(otherwise)


@dataclass
class ModelService:
    """Serves ``/v1/chat/completions`` as OpenAI does, and ``/v1/messages`` as Anthropic does."""

    #: The answers to the next requests, in order.
    script: deque[Say | Call] = field(default_factory=deque)
    #: The bodies of the requests.
    requests: list[dict[str, Any]] = field(default_factory=list)
    #: How many answers ended early because the client closed the connection.
    cut: int = 0

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        body = b""
        while (message := await receive())["type"] == "http.request":
            body += message.get("body", b"")
            if not message.get("more_body"):
                break
        headers = {key.decode(): value.decode() for key, value in scope["headers"]}
        try:
            request = json.loads(body)
            self.requests.append(request)
            if scope["path"] == "/v1/chat/completions":
                _check_openai(request, headers)
                reply, stream = self.script.popleft(), _openai_stream
            elif scope["path"] == "/v1/messages":
                _check_anthropic(request, headers)
                reply, stream = self.script.popleft(), _anthropic_stream
            else:
                raise Refused(f"unknown path {scope['path']}")
        except Refused as refusal:
            error = {"error": {"type": "invalid_request_error", "message": str(refusal)}}
            await _respond(send, 400, "application/json", json.dumps(error))
        else:
            if request.get("stream"):
                await self._stream(stream(reply), receive, send)
            else:
                await _respond(send, 200, "application/json", json.dumps(_openai_whole(reply)))

    async def _stream(self, pieces: Iterator[str], receive: Any, send: Any) -> None:
        await send(
            {
                "type": "http.response.start",
                "status": 200,
                "headers": [(b"content-type", b"text/event-stream")],
            }
        )
        leaving = asyncio.ensure_future(receive())
        try:
            for piece in pieces:
                await send(
                    {"type": "http.response.body", "body": piece.encode(), "more_body": True}
                )
                # Wait as long as a fast model, so that an endless answer lets other tasks run.
                await asyncio.wait([leaving], timeout=0.002)
                if leaving.done():
                    self.cut += 1
                    return
            await send({"type": "http.response.body", "body": b""})
        finally:
            leaving.cancel()


async def _respond(send: Any, status: int, mime: str, body: str) -> None:
    headers = [(b"content-type", mime.encode())]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body.encode()})


# OpenAI: chat completions


def _check_openai(request: dict[str, Any], headers: dict[str, str]) -> None:
    demand(headers.get("authorization") == "Bearer key", "no such key")
    demand(isinstance(request.get("model"), str), "model is missing")
    demand(request.get("messages"), "messages is missing")
    asked: set[str] = set()
    for message in request["messages"]:
        role = message["role"]
        demand(role in ("system", "developer", "user", "assistant", "tool"), f"role {role}")
        if role == "tool":
            demand(message["tool_call_id"] in asked, "a tool's answer that nobody has asked for")
            demand(isinstance(message["content"], str | list), "a tool answers with a text")
            asked.remove(message["tool_call_id"])
        else:
            demand(not asked, f"tool calls without an answer: {asked}")
            calls = message.get("tool_calls") or []
            demand(calls or isinstance(message.get("content"), str | list), "no content")
            asked = {call["id"] for call in calls}
    demand(not asked, f"tool calls without an answer: {asked}")
    demand("tool_choice" not in request or request.get("tools"), "tool_choice is without tools")
    for tool in request.get("tools", ()):
        demand(tool["type"] == "function", "a tool is a function")
        demand(tool["function"]["parameters"]["type"] == "object", "parameters are an object")


def _data(value: Any) -> str:
    return f"data: {value if isinstance(value, str) else json.dumps(value)}\n\n"


_OPENAI = {"id": "chatcmpl-1", "created": 1_780_000_000, "model": "test"}


def _openai_stream(reply: Say | Call) -> Iterator[str]:
    def chunk(delta: dict[str, Any], finish: str | None = None) -> str:
        choice = {"index": 0, "delta": delta, "finish_reason": finish}
        return _data({**_OPENAI, "object": "chat.completion.chunk", "choices": [choice]})

    if isinstance(reply, Say):
        yield chunk({"role": "assistant", "content": ""})
        for token in _tokens(reply):
            yield chunk({"content": token})
        yield chunk({}, "stop")
    else:
        function = {"name": reply.name, "arguments": ""}
        call = {"index": 0, "id": "call_1", "type": "function", "function": function}
        yield chunk({"role": "assistant", "content": None, "tool_calls": [call]})
        for piece in _halves(reply.arguments):
            yield chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]})
        yield chunk({}, "tool_calls")
    # With stream_options the last chunk has no choices.
    usage = {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2}
    yield _data({**_OPENAI, "object": "chat.completion.chunk", "choices": [], "usage": usage})
    yield _data("[DONE]")


def _openai_whole(reply: Say | Call) -> dict[str, Any]:
    message: dict[str, Any] = {"role": "assistant", "content": None, "refusal": None}
    if isinstance(reply, Say):
        message["content"] = "".join(reply.tokens)
    else:
        function = {"name": reply.name, "arguments": json.dumps(reply.arguments)}
        message["tool_calls"] = [{"id": "call_1", "type": "function", "function": function}]
    finish = "stop" if isinstance(reply, Say) else "tool_calls"
    choice = {"index": 0, "message": message, "finish_reason": finish, "logprobs": None}
    return {**_OPENAI, "object": "chat.completion", "choices": [choice]}


# Anthropic: messages


def _check_anthropic(request: dict[str, Any], headers: dict[str, str]) -> None:
    # Some releases of the client send the first header, others the second.
    key = headers.get("x-api-key") or headers.get("authorization", "").removeprefix("Bearer ")
    demand(key == "key", "no such key")
    version = headers.get("anthropic-version", "")
    demand(re.fullmatch(r"\d{4}-\d\d-\d\d", version), "anthropic-version is missing")
    demand(isinstance(request.get("model"), str), "model is missing")
    demand(request.get("max_tokens", 0) > 0, "max_tokens is missing")
    roles = [message["role"] for message in request["messages"]]
    demand(roles[:1] == ["user"], "the first message is the user's")
    demand(set(roles) <= {"user", "assistant"}, "a system prompt is not among the messages")
    for message in request["messages"]:
        blocks = message["content"]
        if isinstance(blocks, str):
            demand(blocks, "a text is not empty")
            continue
        for block in blocks:
            demand(block["type"] in ("text", "document"), f"block {block['type']}")
            if block["type"] == "document":
                source = block["source"]
                kind = {"text": "text/plain", "base64": "application/pdf"}[source["type"]]
                demand(source["media_type"] == kind, f"media_type is {kind}")


def _anthropic_stream(reply: Say | Call) -> Iterator[str]:
    def event(kind: str, **data: Any) -> str:
        return f"event: {kind}\n" + _data({"type": kind, **data})

    assert isinstance(reply, Say)
    message = {
        "id": "msg_1",
        "type": "message",
        "role": "assistant",
        "model": "test",
        "content": [],
        "stop_reason": None,
        "stop_sequence": None,
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    yield event("message_start", message=message)
    yield event("content_block_start", index=0, content_block={"type": "text", "text": ""})
    yield event("ping")
    for token in _tokens(reply):
        delta = {"type": "text_delta", "text": token}
        yield event("content_block_delta", index=0, delta=delta)
    yield event("content_block_stop", index=0)
    delta = {"stop_reason": "end_turn", "stop_sequence": None}
    yield event("message_delta", delta=delta, usage={"output_tokens": 2})
    yield event("message_stop")


def _tokens(reply: Say) -> Iterator[str]:
    yield from reply.tokens
    while reply.endless:
        yield reply.tokens[-1]


def _halves(arguments: dict[str, Any]) -> tuple[str, str]:
    text = json.dumps(arguments)
    return text[: len(text) // 2], text[len(text) // 2 :]


@asynccontextmanager
async def served(application: Any) -> AsyncIterator[str]:
    """Serve an ASGI application on a port of its own during the block; yield its address."""
    config = uvicorn.Config(application, port=0, log_config=None, lifespan="auto", ws="none")
    server = uvicorn.Server(config)
    running = asyncio.create_task(server.serve())
    try:
        async with asyncio.timeout(10):
            while not server.started:  # noqa: ASYNC110, RUF100  # uvicorn has no event for it
                await asyncio.sleep(0.005)
        port = server.servers[0].sockets[0].getsockname()[1]
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        await running
