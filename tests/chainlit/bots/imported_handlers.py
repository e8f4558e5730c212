"""Handlers for the bot that imports them."""

import chatsessions.chainlit as cl


@cl.on_message
async def main(message: cl.Message):
    await cl.Message(f"From elsewhere: {message.content}").send()


@cl.action_callback("hint")
async def hint(action):
    await cl.Message("A hint from elsewhere").send()
