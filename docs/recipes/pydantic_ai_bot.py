"""An agent of Pydantic AI, whose history, tools included, is a value of the session."""

import os

from openai import AsyncOpenAI
from pydantic_ai import Agent, ModelMessagesTypeAdapter
from pydantic_ai.models.openai import OpenAIChatModel
from pydantic_ai.providers.openai import OpenAIProvider

import chatsessions as cl

MODEL = os.environ.get("OPENAI_MODEL", "gpt-5-mini")

agent = Agent(instructions="You are a waiter. Prices come from the tool.")


@agent.tool_plain
@cl.step(type="tool")
async def price(dish: str) -> str:
    """The price of a dish."""
    return {"soup": "4.50", "pasta": "11.00"}.get(dish, "not on the menu")


@cl.session_lifespan
async def model():
    async with AsyncOpenAI() as client:
        provider = OpenAIProvider(openai_client=client)
        cl.user_session.local["model"] = OpenAIChatModel(MODEL, provider=provider)
        yield


@cl.on_message
async def answer(message: cl.Message):
    history = ModelMessagesTypeAdapter.validate_json(cl.user_session.get("history", "[]"))
    reply = cl.Message()
    async with agent.run_stream(
        message.content, message_history=history, model=cl.user_session.local["model"]
    ) as result:
        async for text in result.stream_text(delta=True):
            await reply.stream_token(text)
    cl.user_session["history"] = result.all_messages_json().decode()
    await reply.send()
