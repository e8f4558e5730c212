"""Asks: for a name, then three questions with a minute each."""

from chatsessions import Action, AskActionMessage, AskUserMessage, Chat, Message

chat = Chat("quiz")

#: Question, choices, and the number of the right one.
QUESTIONS = (
    ("Which planet has the shortest day?", ("Mars", "Jupiter", "Venus"), 1),
    ("How many strings has a cello?", ("Four", "Five", "Six"), 0),
    ("Which of these is not a colour of the rainbow?", ("Indigo", "Orange", "Pink"), 2),
)
#: Seconds for each answer.
PATIENCE = 60


@chat.on_chat_start
async def start() -> None:
    await offer("Three questions, a minute for each.")


@chat.on_action("play")
async def play(action: Action) -> None:
    await action.remove()
    answer = await AskUserMessage("What shall I call you?", timeout=PATIENCE).send()
    name = answer["output"].strip() if answer else "stranger"
    points = 0
    for number, (question, choices, right) in enumerate(QUESTIONS, start=1):
        # The right answer stays on the server: the page gets no more than it shows.
        chosen = await AskActionMessage(
            f"{number}. {question}",
            actions=[Action("choice", {"number": i}, label=c) for i, c in enumerate(choices)],
            timeout=PATIENCE,
        ).send()
        if chosen and chosen["payload"]["number"] == right:
            points += 1
        else:
            await Message(f"It is {choices[right]}.").send()
    await offer(f"{name}, you have {points} of {len(QUESTIONS)} points.")


@chat.on_message
async def chatter() -> None:
    await Message("It is me who asks here. Press Play, and off we go.").send()


async def offer(text: str) -> None:
    await Message(text, actions=[Action("play", label="Play", icon="play")]).send()
