"""An assistant on Anthropic's Messages API, which streams."""

import os

from anthropic import AsyncAnthropic

import chatsessions as cl

MODEL = os.environ.get("ANTHROPIC_MODEL", "claude-sonnet-5")


@cl.session_lifespan
async def anthropic():
    # ANTHROPIC_API_KEY and ANTHROPIC_BASE_URL are read here.
    async with AsyncAnthropic() as client:
        cl.user_session.local["anthropic"] = client
        yield


@cl.on_message
async def answer(message: cl.Message):
    reply = cl.Message()
    client = cl.user_session.local["anthropic"]
    async with client.messages.stream(
        model=MODEL,
        max_tokens=4096,
        system="You are brief.",
        messages=cl.chat_context.to_openai(),
    ) as stream:
        async for text in stream.text_stream:
            await reply.stream_token(text)
    await reply.send()
