"""A bot for what the demo's bots never do: say nothing at first, echo markup, and fail."""

from typing import Any

from chatsessions import AskFileMessage, Chat, Message, send_window_message

chat = Chat("parrot")


@chat.on_message
async def repeat(message: Message) -> None:
    if message.content == "fail":
        raise RuntimeError("a secret of the server")
    if message.content == "stumble":
        await Message().stream_token("")
        raise RuntimeError("before the first word")
    if message.content == "swear":
        message.content = "* * *"
        await message.update()
        return
    if message.content == "unsay":
        await message.remove()
        return
    await Message(message.content, author=message.content).send()
    streamed = Message()
    for piece in message.content:
        await streamed.stream_token(piece)
    await streamed.send()


@chat.on_event("note")
async def note(_: Any) -> None:
    """Say nothing: there may be thousands."""


@chat.on_event("picture")
async def picture() -> None:
    [file] = await AskFileMessage("One picture, please.", accept=["image/*"]).send() or []
    await Message(f"{file.name}, {file.size} bytes").send()


@chat.on_window_message
async def seen(data: Any) -> None:
    await send_window_message({"seen": data})
