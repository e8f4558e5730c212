"""The ``openai`` package, where it is installed."""

from openai import AsyncOpenAI

from chatsessions import Message, chat_context


async def answer() -> None:
    async with AsyncOpenAI() as client:
        stream = await client.chat.completions.create(
            model="any", messages=chat_context.to_openai(), stream=True
        )
        message = Message()
        async for chunk in stream:
            await message.stream_token(chunk.choices[0].delta.content or "")
        await message.update()
