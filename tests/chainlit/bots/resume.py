"""A conversation that a logged-in user continues, with its memory rebuilt from the steps."""

import chatsessions.chainlit as cl
from chatsessions.chainlit.types import ThreadDict


class Memory:
    def __init__(self):
        self.lines = []
        self.note = self.lines.append  # a bound method cannot be stored


@cl.on_chat_start
async def on_chat_start():
    cl.user_session.set("memory", Memory())
    user = cl.user_session.get("user")
    name = user.identifier if user else "stranger"
    await cl.Message(f"Hello {name}").send()


@cl.on_chat_resume
async def on_chat_resume(thread: ThreadDict):
    memory = Memory()
    root_messages = [m for m in thread["steps"] if m["parentId"] is None]
    for message in root_messages:
        if message["type"] == "user_message":
            memory.note(message["output"])
    cl.user_session.set("memory", memory)


@cl.on_message
async def on_message(message: cl.Message):
    memory = cl.user_session.get("memory")
    memory.note(message.content)
    await cl.Message(content=f"So far: {', '.join(memory.lines)}").send()
