"""Handlers written as ``def``, in a module with the override of docs/handlers.md."""

from chatsessions import AskUserMessage, Chat, Message, run_sync

chat = Chat("clerk")


@chat.on_message
def answer(message: Message) -> None:
    Message("One moment.").send()
    answer = run_sync(AskUserMessage("Who?").send())
    shown = Message(answer["output"] if answer else "Nobody")
    shown.stream_token("!")
    shown.update()
