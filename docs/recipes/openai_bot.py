"""An assistant on any service that speaks OpenAI's wire: history, tools, and Stop."""

import json
import os
from datetime import datetime
from zoneinfo import ZoneInfo

from openai import AsyncOpenAI

import chatsessions as cl

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
INSTRUCTIONS = {"role": "system", "content": "You are brief. For times, use the tool."}
#: How many times a model is asked, at most; the last time it has to answer.
MAX_ROUNDS = 5


@cl.step(type="tool")
async def current_time(zone: str) -> str:
    return datetime.now(ZoneInfo(zone)).strftime("%A, %H:%M")


FUNCTIONS = {"current_time": current_time}
TOOLS = [
    {
        "type": "function",
        "function": {
            "name": "current_time",
            "description": "The day and the time in a time zone.",
            "parameters": {
                "type": "object",
                "properties": {"zone": {"type": "string", "description": "As Europe/Paris."}},
                "required": ["zone"],
            },
        },
    }
]


@cl.session_lifespan
async def openai():
    # OPENAI_API_KEY and OPENAI_BASE_URL are read here.
    async with AsyncOpenAI() as client:
        cl.user_session.local["openai"] = client
        yield


@cl.on_message
async def answer(message: cl.Message):
    messages = [INSTRUCTIONS, *cl.chat_context.to_openai()]
    reply = cl.Message()
    for left in reversed(range(MAX_ROUNDS)):
        calls = await stream(messages, reply, tool_choice="auto" if left else "none")
        if not calls:
            break
        messages.append({"role": "assistant", "tool_calls": calls})
        for call in calls:
            output = await run(call["function"])
            messages.append({"role": "tool", "tool_call_id": call["id"], "content": output})
    await reply.send()


async def stream(messages: list, reply: cl.Message, tool_choice: str) -> list[dict]:
    """Add what the model says to ``reply``, and return the calls of tools that it asks for."""
    calls: dict[int, dict] = {}
    client = cl.user_session.local["openai"]
    chunks = await client.chat.completions.create(
        model=MODEL, messages=messages, tools=TOOLS, tool_choice=tool_choice, stream=True
    )
    async with chunks:  # ends the request, also when the user presses Stop
        async for chunk in chunks:
            if not chunk.choices:
                continue
            delta = chunk.choices[0].delta
            if delta.content:
                await reply.stream_token(delta.content)
            for piece in delta.tool_calls or ():
                call = calls.setdefault(
                    piece.index,
                    {"id": "", "type": "function", "function": {"name": "", "arguments": ""}},
                )
                call["id"] += piece.id or ""
                call["function"]["name"] += piece.function.name or ""
                call["function"]["arguments"] += piece.function.arguments or ""
    return list(calls.values())


async def run(function: dict) -> str:
    """Call a tool, and return what the model reads of it."""
    try:
        return await FUNCTIONS[function["name"]](**json.loads(function["arguments"]))
    except Exception as error:  # its step shows that it failed; the model may try again
        return f"{type(error).__name__}: {error}"
