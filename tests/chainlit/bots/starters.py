"""What to begin with, as buttons on the empty page."""

import chatsessions.chainlit as cl


@cl.set_starters
async def set_starters():
    return [
        cl.Starter(label="Morning routine", message="Help me.", icon="/sun.svg"),
        cl.Starter(label="Spot errors", message="How can I avoid mistakes?", icon="☂"),
    ]


@cl.set_starter_categories
async def set_starter_categories(user=None):
    return [
        cl.StarterCategory(
            label="Trips", starters=[cl.Starter(label="A weekend", message="Plan a weekend.")]
        )
    ]


@cl.on_message
async def on_message(message: cl.Message):
    await cl.Message(f"You said: {message.content}").send()
