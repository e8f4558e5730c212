"""The conversation as chat_context has it, for a model."""

from fake_llm import AsyncClient

import chatsessions.chainlit as cl

client = AsyncClient()


@cl.on_message
async def on_message(message: cl.Message):
    if message.content == "forget":
        for one in cl.chat_context.get()[:-1]:
            cl.chat_context.remove(one)
    for copy in cl.chat_context.get():
        copy.content = "changed"  # which changes nothing
    if message.content == "clear":
        cl.chat_context.clear()
        return
    completion = await client.chat.completions.create(messages=cl.chat_context.to_openai())
    await cl.Message(completion.choices[0].message.content).send()
