"""Files: takes what it is given, says what it is, and hands out a list of it."""

from collections.abc import Sequence

from chatsessions import Action, AskFileMessage, Chat, ChatFile, Message, context

chat = Chat("shelf")


@chat.on_chat_start
async def start() -> None:
    await Message(
        "Give me files: by the paper clip, dropped, or pasted.",
        actions=[
            Action("ask", label="Ask me for pictures"),
            Action("list", label="What do you have?"),
        ],
    ).send()


@chat.on_message
async def take(message: Message) -> None:
    if message.files:
        await describe(message.files)
    else:
        await Message("There is no file in that. I keep nothing else.").send()


@chat.on_action("ask")
async def ask() -> None:
    pictures = await AskFileMessage(
        "Up to three pictures, please.", accept=["image/*"], max_files=3, timeout=300
    ).send()
    if pictures is None:
        await Message("Another time, then.").send()
    else:
        await describe(pictures)


async def describe(files: Sequence[ChatFile]) -> None:
    lines = [f"{file.name}: {file.mime}, {file.size:,} bytes" for file in files]
    await Message("\n".join(lines), files=files).send()


@chat.on_action("list")
async def inventory() -> None:
    files = await context.session.files()
    table = "name,type,bytes\n" + "".join(f"{f.name},{f.mime},{f.size}\n" for f in files)
    saved = await context.session.save_file("shelf.csv", table)
    await Message(f"{len(files)} file(s), in a table.", files=[saved]).send()
