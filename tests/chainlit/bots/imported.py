"""A bot whose handlers are in a module that it imports."""

import imported_handlers  # noqa: F401

import chatsessions.chainlit as cl


@cl.on_chat_start
async def start():
    await cl.Message("Press or write", actions=[cl.Action("hint", {}, label="Hint")]).send()
