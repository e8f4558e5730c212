"""A bot in a page of somebody else's: messages of the window, and keys that the user brings."""

import chatsessions.chainlit as cl


@cl.on_chat_start
async def start():
    key = cl.user_session.get("env").get("API_KEY")
    await cl.Message(f"A key of {len(key or '')} characters").send()


@cl.on_window_message
async def window_message(message):
    await cl.send_window_message(f"Server: {message}")


@cl.on_message
async def main(message: cl.Message):
    session = cl.context.session
    await cl.Message(f"{session.client_type}, {type(session.id).__name__}").send()
    if message.content == "emit":
        await cl.context.emitter.send_toast("Saved", "success")
        await cl.Message("after").send()
