"""Chainlit's counter bot; only the import line differs."""

import chatsessions as cl


@cl.on_chat_start
async def on_chat_start() -> None:
    cl.user_session.set("counter", 0)
    await cl.Message(content="Hello! I count your messages.").send()


@cl.on_message
async def on_message(message: cl.Message) -> None:
    counter = cl.user_session.get("counter")
    counter += 1
    cl.user_session.set("counter", counter)
    await cl.Message(content=f"You have sent {counter} message(s)!").send()
