"""An assistant with the tools of an MCP server, connected as long as the session is held."""

import json
import os

from mcp import Client
from openai import AsyncOpenAI

import chatsessions as cl

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")
MCP_URL = os.environ.get("MCP_URL", "http://127.0.0.1:8080/mcp")
#: How many times a model is asked, at most; the last time it has to answer.
MAX_ROUNDS = 5


@cl.session_lifespan
async def clients():
    # Both are left in the task that has entered them, as MCP's client wants it.
    async with AsyncOpenAI() as openai, Client(MCP_URL) as mcp:
        found = await mcp.list_tools()
        cl.user_session.local.update(
            openai=openai,
            mcp=mcp,
            tools=[
                {
                    "type": "function",
                    "function": {
                        "name": tool.name,
                        "description": tool.description or "",
                        "parameters": tool.input_schema,
                    },
                }
                for tool in found.tools
            ],
        )
        yield


@cl.on_message
async def answer(message: cl.Message):
    local = cl.user_session.local
    messages = cl.chat_context.to_openai()
    for left in reversed(range(MAX_ROUNDS)):
        completion = await local["openai"].chat.completions.create(
            model=MODEL,
            messages=messages,
            tools=local["tools"],
            tool_choice="auto" if left else "none",
        )
        said = completion.choices[0].message
        if not said.tool_calls:
            await cl.Message(said.content).send()
            break
        messages.append(said.model_dump(exclude_none=True))
        for call in said.tool_calls:
            output = await use_tool(call.function.name, json.loads(call.function.arguments))
            messages.append({"role": "tool", "tool_call_id": call.id, "content": output})


async def use_tool(name: str, arguments: dict) -> str:
    async with cl.Step(name, input=arguments) as step:
        result = await cl.user_session.local["mcp"].call_tool(name, arguments)
        step.output = "\n".join(part.text for part in result.content if part.type == "text")
        if result.is_error:
            step.error = step.output
    return step.output
