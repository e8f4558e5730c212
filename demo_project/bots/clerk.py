"""A bot without ``async``: handlers in a thread of their own, with the ORM and with questions."""

from chatsessions import AskUserMessage, Chat, Message, user_session
from chatsessions.models import ChatSession

chat = Chat("clerk")


@chat.on_chat_start
def start() -> None:
    Message("I know how many conversations are open. Ask me anything.").send()


@chat.on_message
def answer(message: Message) -> None:
    name = user_session.get("name")
    if name is None:
        given = AskUserMessage("Who wants to know?", timeout=120).send()
        if given is None:
            return
        name = user_session["name"] = given["output"]
    count = ChatSession.objects.connected().count()
    Message(f"{count} conversation(s) at this moment, {name}.").send()
