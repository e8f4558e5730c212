"""Handlers written as plain functions."""

import time

import chatsessions.chainlit as cl


@cl.on_chat_start
def start():
    cl.user_session.set("seen", [])
    cl.run_sync(cl.Message("Hello from a function").send())


@cl.step(type="tool")
def slow(text):
    time.sleep(0.01)
    return text.upper()


@cl.on_message
def main(message: cl.Message):
    seen = cl.user_session.get("seen")
    seen.append(message.content)
    cl.user_session.set("seen", seen)
    loud = slow(message.content)
    answer = cl.run_sync(cl.AskUserMessage(content=f"{loud}?").send())
    sent = cl.run_sync(cl.Message(f"{answer['output']}, {len(seen)}").send())
    sent.content += "!"
    cl.run_sync(sent.update())


@cl.on_settings_update
def settings(values): ...


@cl.on_chat_end
def end():
    print("The end of", cl.user_session.get("id"))
