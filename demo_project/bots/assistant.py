"""Threads: logged-in users continue earlier conversations. It has no model; it only remembers."""

import asyncio

from chatsessions import Chat, Message, Thread, chat_context

chat = Chat("assistant")

#: Words per second.
PACE = 40


@chat.on_chat_start
async def start() -> None:
    await Message("Tell me something. I forget nothing that you say here.").send()


@chat.on_chat_resume
async def resume(thread: Thread) -> None:
    await Message(f"There you are again. We spoke of “{thread.title}”.").send()


@chat.on_message
async def answer(message: Message) -> None:
    # What a language model would get.
    said = [part["content"] for part in chat_context.to_openai() if part["role"] == "user"]
    text = f"That makes {len(said)}. You began with: “{said[0]}”"
    if len(said) > 1:
        text += f"; and just before this you said: “{said[-2]}”"
    reply = Message()
    for word in text.split(" "):
        await reply.stream_token(f"{word} ")
        await asyncio.sleep(1 / PACE)
    reply.content = f"{text}."
    await reply.update()
