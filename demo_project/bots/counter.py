"""Counts the messages of each session."""

from chatsessions import Chat, Message, user_session

chat = Chat("counter")


@chat.on_chat_start
async def start() -> None:
    user_session.set("message_count", 0)
    await Message(content="Hi! I'll count how many messages you send.").send()


@chat.on_message
async def handle(message: Message) -> None:
    count = user_session.get("message_count", 0) + 1
    user_session.set("message_count", count)
    await Message(content=f"You have sent {count} message(s)!").send()
