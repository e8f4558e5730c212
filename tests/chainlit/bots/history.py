"""A model that is given the history, which is kept in user_session."""

from fake_llm import AsyncClient

import chatsessions.chainlit as cl

client = AsyncClient()
settings = {"model": "small", "temperature": 0.7}


@cl.on_chat_start
def start_chat():
    cl.user_session.set(
        "message_history", [{"role": "system", "content": "You are a helpful assistant."}]
    )


@cl.on_message
async def main(message: cl.Message):
    message_history = cl.user_session.get("message_history")
    message_history.append({"role": "user", "content": message.content})
    msg = cl.Message(content="")
    stream = await client.chat.completions.create(messages=message_history, stream=True, **settings)
    async for part in stream:
        if token := part.choices[0].delta.content or "":
            await msg.stream_token(token)
    message_history.append({"role": "assistant", "content": msg.content})
    await msg.update()
