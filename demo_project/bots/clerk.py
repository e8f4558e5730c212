"""A bot without ``async``: its handlers run in threads, use the ORM, and ask a question."""

from chatsessions import AskUserMessage, Chat, Message, run_sync, user_session
from chatsessions.models import ChatSession

chat = Chat("clerk")


@chat.on_chat_start
def start() -> None:
    Message("I know how many conversations are open. Ask me anything.").send()


@chat.on_message
def answer() -> None:
    if "name" not in user_session:
        given = run_sync(AskUserMessage("Who wants to know?", timeout=120).send())
        user_session["name"] = given["output"] if given else "whoever you are"
    count = ChatSession.objects.connected().count()
    Message(f"{count} at this moment, {user_session['name']}.").send()
