"""A long answer that the user stops."""

import chatsessions.chainlit as cl


@cl.on_stop
async def on_stop():
    cl.user_session.set("stopped", cl.user_session.get("stopped", 0) + 1)


@cl.on_message
async def on_message(message: cl.Message):
    if message.content == "how often":
        await cl.Message(f"Stopped {cl.user_session.get('stopped', 0)}").send()
        return
    msg = cl.Message(content="")
    for number in range(100_000):
        await msg.stream_token(f"{number} ")
        await cl.sleep(0.05)
    await msg.send()
