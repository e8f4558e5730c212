"""The bot: it enqueues, and a worker of Celery answers."""

from job_tasks import answer

import chatsessions as cl


@cl.on_message
def enqueue(message: cl.Message):
    # A def, so that delay(), which talks to the broker, blocks nobody.
    answer.delay(str(cl.context.session.id), cl.chat_context.to_openai())
