"""Streams a story, one word at a time. It needs no model: the words are its own."""

import asyncio

from chatsessions import Chat, Message, user_session

chat = Chat("storyteller")

#: Tokens per second.
PACE = 20

OPENINGS = (
    "Once, in a town where the rain kept a diary,",
    "The lighthouse had been empty for a year when",
    "Nobody at the night market asked why",
)
SENTENCES = (
    "an old clockmaker found a letter addressed to tomorrow.",
    "She read it twice, then wound every clock in the house,",
    "because the letter said that somebody would come at the hour that was missing.",
    "By noon the street had gathered under her window,",
    "each neighbour holding a lamp, each lamp a different colour.",
    "The baker swore he had seen the hour himself, crossing the bridge with a suitcase.",
    "They waited, and while they waited they told one another what they would do with it.",
    "One would sleep. One would learn the cello. One would finally call her brother.",
    "The mayor asked for a vote, and nobody could agree when it had begun.",
    "Towards evening the rain stopped writing, and every clock in the house fell silent.",
    "When the missing hour arrived it was small, and wet, and looking for a place to sit.",
    "So the clockmaker made tea, and nobody in that town was ever late again.",
)


@chat.on_chat_start
async def start() -> None:
    await Message(
        "Give me a subject, and I'll tell you a story. Press stop when you've enough."
    ).send()


@chat.on_message
async def tell(message: Message) -> None:
    told = user_session.get("stories", 0)
    user_session["stories"] = told + 1
    story = Message()
    for token in _tokens(message.content, told):
        await story.stream_token(token)
        await asyncio.sleep(1 / PACE)
    await story.update()


@chat.on_stop
async def stop() -> None:
    await Message("All right, I'll stop there.", author="Storyteller").send()


def _tokens(subject: str, told: int) -> list[str]:
    opening = OPENINGS[told % len(OPENINGS)]
    body = " ".join(SENTENCES)
    text = f"A story about {subject.strip() or 'nothing'}. {opening} {body}"
    return [f"{word} " for word in text.split()]
