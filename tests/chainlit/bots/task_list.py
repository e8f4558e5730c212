"""A list of tasks that changes as the work goes on."""

import chatsessions.chainlit as cl


@cl.on_message
async def main(message: cl.Message):
    task_list = cl.TaskList()
    task_list.status = "Running..."
    task1 = cl.Task(title="Read the message", status=cl.TaskStatus.RUNNING)
    await task_list.add_task(task1)
    task2 = cl.Task(title="Answer it")
    await task_list.add_task(task2)
    await task_list.send()
    answer = await cl.Message(content=message.content.upper()).send()
    task1.status = cl.TaskStatus.DONE
    task2.status = cl.TaskStatus.FAILED
    task1.forId = answer.id
    task_list.status = "Done"
    await task_list.send()
