"""Callbacks that run while a handler waits for them."""

import asyncio

import chatsessions.chainlit as cl

events: dict[str, asyncio.Event] = {}


@cl.on_chat_start
async def start():
    await cl.ChatSettings(
        [cl.input_widget.TextInput(id="word", label="Word", initial="none")]
    ).send()


@cl.on_message
async def main(message: cl.Message):
    approved = events[cl.user_session.get("id")] = asyncio.Event()
    actions = [cl.Action(name="approve", payload={"by": "me"}, label="Approve")]
    await cl.Message(content="Shall I?", actions=actions).send()
    await approved.wait()
    await cl.Message(content=f"I did, by {cl.user_session.get('approved_by')}").send()


@cl.action_callback("approve")
async def approve(action: cl.Action):
    cl.user_session.set("approved_by", action.payload["by"])
    events.pop(cl.context.session.id).set()


@cl.on_window_message
async def window(data):
    cl.user_session.set("approved_by", data)
    events.pop(cl.context.session.id).set()


@cl.on_settings_update
async def settings(values):
    cl.user_session.set("approved_by", values["word"])
    events.pop(cl.context.session.id).set()
