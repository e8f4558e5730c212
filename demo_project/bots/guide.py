"""Profiles: one of three guides, chosen before the conversation; a fourth for logged-in users."""

from typing import Any

from chatsessions import Chat, ChatProfile, Message, user_session

chat = Chat("guide")

MANNERS = {
    "Flora": "{} is best seen on foot, slowly, in the morning.",
    "Max": "{}! There and back by lunch, I know a short cut.",
    "Dr. Stone": "{} rests on limestone. Bring a hammer.",
    "Nightingale": "{} is another place after midnight. Bring a lamp.",
}


@chat.profiles
async def profiles(user: Any) -> list[ChatProfile]:
    offered = [
        ChatProfile("Flora", "Takes her time, and yours.", icon="heart", default=True),
        ChatProfile("Max", "In a hurry.", icon="play"),
        ChatProfile("Dr. Stone", "Knows what lies beneath.", icon="search"),
    ]
    if user.is_authenticated:
        offered.append(ChatProfile("Nightingale", "For who is logged in.", icon="star"))
    return offered


@chat.on_chat_start
async def start() -> None:
    guide = user_session["chat_profile"]
    await Message("Where do you want to go?", author=guide).send()


@chat.on_message
async def show(message: Message) -> None:
    guide = user_session["chat_profile"]
    place = message.content.strip().rstrip("!?.") or "Nowhere"
    await Message(MANNERS[guide].format(place), author=guide).send()
