"""Blocking work in threads, which talk to the user in the middle of it."""

import threading
import time

import chatsessions.chainlit as cl


def blocking(text):
    """Some library's function that knows nothing of asyncio."""
    time.sleep(0.01)
    report(f"{text} in another thread: {threading.current_thread() is not threading.main_thread()}")
    return text[::-1]


def report(text):
    cl.run_sync(cl.Message(content=text).send())


@cl.on_message
async def main(message: cl.Message):
    cl.user_session.set("text", message.content)
    result = await cl.make_async(blocking)(message.content)
    await cl.Message(content=result).send()
    # A plain function that an async handler calls, and that waits for the loop it blocks.
    report(f"from the loop's own thread: {cl.user_session.get('text')}")
