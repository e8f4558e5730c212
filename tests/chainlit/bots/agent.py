"""An agent with a client, which cannot be stored, kept in user_session."""

from fake_llm import AsyncClient

import chatsessions.chainlit as cl


class Agent:
    def __init__(self, name):
        self.name = name
        self.client = AsyncClient()
        self.messages = []

    async def run(self, text):
        async with self.client.lock:
            self.messages.append({"role": "user", "content": text})
            return await self.client.chat.completions.create(messages=self.messages, stream=True)


@cl.on_chat_start
async def on_chat_start():
    cl.user_session.set("agent", Agent("Smith"))
    cl.user_session.set("greeted", cl.user_session.get("greeted", 0) + 1)


@cl.on_message
async def on_message(message: cl.Message):
    agent = cl.user_session.get("agent")
    answer = cl.Message(content="", author=agent.name)
    if message.content == "wait":
        await cl.Message("I begin").send()
        await answer.stream_token("And I wait ")
        await cl.sleep(3600)
    async for part in await agent.run(message.content):
        await answer.stream_token(part.choices[0].delta.content or "")
    await answer.send()
