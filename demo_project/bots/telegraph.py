"""HTTP: the same kind of handlers, for a page without a websocket."""

import asyncio

from chatsessions import Chat, Message, user_session

chat = Chat("telegraph")

#: Words per second.
PACE = 8


@chat.on_chat_start
async def start() -> None:
    user_session["sent"] = 0
    await Message("The line is open. What shall I wire?").send()


@chat.on_message
async def wire(message: Message) -> None:
    user_session["sent"] += 1
    telegram = Message(author=f"Telegram No. {user_session['sent']}")
    for word in [*message.content.upper().split(), "STOP"]:
        await telegram.stream_token(f"{word} ")
        await asyncio.sleep(1 / PACE)
    await telegram.update()
