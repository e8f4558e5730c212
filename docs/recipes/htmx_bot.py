"""The bot of a shop: what it puts into the basket is seen beside it."""

from django.core import signing
from django.urls import reverse

import chatsessions as cl


@cl.on_chat_start
async def start():
    cl.user_session["basket"] = []
    await cl.Message("What do you need? Name one thing at a time.").send()
    await show_basket()


@cl.on_message
async def add(message: cl.Message):
    cl.user_session["basket"] = [*cl.user_session["basket"], message.content]
    await cl.Message(f"{message.content} is in your basket.").send()
    await show_basket()


async def show_basket():
    """Have the page fetch the basket, from an address that nobody else can make."""
    key = signing.dumps(str(cl.context.session.id), salt="basket")
    await cl.context.emitter.emit("basket", {"url": reverse("basket", args=[key])})
