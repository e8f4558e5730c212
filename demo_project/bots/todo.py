"""Actions: a list of things to do, each with its buttons."""

from chatsessions import Action, Chat, Message, user_session

chat = Chat("todo")


@chat.on_chat_start
async def start() -> None:
    user_session["things"] = {}
    await Message("What is there to do? Write one thing at a time.").send()


@chat.on_message
async def add(message: Message) -> None:
    thing = Message(
        message.content,
        author="To do",
        actions=[
            Action("done", label="Done", icon="check"),
            Action("forget", label="Forget it", icon="trash", tooltip="Take it off the list"),
        ],
    )
    await thing.send()
    user_session["things"][thing.id] = thing


@chat.on_action("done")
async def done(action: Action) -> None:
    thing = user_session["things"].pop(action.message_id)
    thing.author = "Done"
    thing.content = f"✓ {thing.content}"
    await thing.remove_actions()
    if not user_session["things"]:
        await Message("That was all.").send()


@chat.on_action("forget")
async def forget(action: Action) -> None:
    await user_session["things"].pop(action.message_id).remove()
