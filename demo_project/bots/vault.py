"""Keys: needs two keys of the user, which stay in the tab and in this process's memory."""

from chatsessions import Chat, Message, user_session

chat = Chat("vault", user_env=["API_KEY", "REGION"])


@chat.on_chat_start
async def start() -> None:
    await Message("The vault is open. Ask me which key I have.").send()


@chat.on_message
async def answer() -> None:
    env = user_session["env"]
    key = env["API_KEY"]
    await Message(
        f"A key of {len(key)} characters that ends in {key[-2:]!r}, for {env['REGION']}."
    ).send()
