"""The demo's own tests: ``python manage.py test demo_project``. A project's look like these."""

# ruff: noqa: PT009  # unittest's own assertions: manage.py test knows no others

from unittest.mock import patch

from django.test import TestCase, TransactionTestCase

from chatsessions.models import ChatSession, SessionFile
from chatsessions.testing import ChatCommunicator

from .asgi import BOTS, application
from .bots import assistant, guide, librarian, quiz, storyteller, telegraph


# Sessions are stored by threads with their own connections, which do not see a test's transaction.
class CounterTests(TransactionTestCase):
    """The counter bot, and the same bot with Chainlit's names."""

    async def test_counts(self) -> None:
        async with ChatCommunicator(application, "/ws/counter/") as chat:
            greeting = await chat.receive_message()
            self.assertEqual(greeting.content, "Hi! I'll count how many messages you send.")
            for count in (1, 2, 3):
                await chat.send("hello")
                reply = await chat.receive_message()
                self.assertEqual(reply.content, f"You have sent {count} message(s)!")

    async def test_each_tab_counts_on_its_own(self) -> None:
        async with (
            ChatCommunicator(application, "/ws/counter/") as one,
            ChatCommunicator(application, "/ws/counter/") as other,
        ):
            for chat in (one, one, other):
                await chat.send("hello")
                self.assertEqual(await chat.wait_for_turn(), "done")
            self.assertEqual(one.messages[-1].content, "You have sent 2 message(s)!")
            self.assertEqual(other.messages[-1].content, "You have sent 1 message(s)!")

    async def test_a_reload_keeps_the_count(self) -> None:
        async with ChatCommunicator(application, "/ws/counter/") as chat:
            await chat.send("hello")
            await chat.wait_for_turn()
            shown = chat.messages
            self.assertTrue(await chat.reload())
            self.assertEqual(chat.messages, shown)
            await chat.send("hello again")
            await chat.wait_for_turn()
            self.assertEqual(chat.messages[-1].content, "You have sent 2 message(s)!")
        session = await ChatSession.objects.aget(pk=chat.session_id)
        self.assertEqual(session.state, '{"message_count":2}')

    async def test_the_tutorials_bot(self) -> None:
        async with ChatCommunicator(application, "/ws/tutorial/") as chat:
            greeting = await chat.receive_message()
            self.assertEqual(greeting.content, "Hello! I count your messages.")
            for count in (1, 2):
                await chat.send("hello")
                reply = await chat.receive_message()
                self.assertEqual(reply.content, f"You have sent {count} message(s)!")


class StorytellerTests(TransactionTestCase):
    """A long answer, streamed: whole, stopped, and with the connection lost in the middle."""

    async def test_tells_a_story(self) -> None:
        with patch.object(storyteller, "PACE", 10_000):  # as fast as it can
            async with ChatCommunicator(application, "/ws/storyteller/") as chat:
                await chat.receive_message()
                await chat.send("a hat")
                story = await chat.receive_message()
                self.assertTrue(story.content.startswith("A story about a hat. Once, in a town"))
                self.assertEqual(await chat.wait_for_turn(), "done")
                await chat.receive_nothing()

    async def test_stops_half_way(self) -> None:
        async with ChatCommunicator(application, "/ws/storyteller/") as chat:
            await chat.receive_message()
            await chat.send("a hat")
            await chat.wait_until(lambda: "story about" in chat.messages[-1].content)
            await chat.stop()
            self.assertEqual(await chat.wait_for_turn(), "stopped")
            begun = await chat.receive_message()
            self.assertLess(len(begun.content), 200)
            farewell = await chat.receive_message()
            self.assertEqual(farewell.content, "All right, I'll stop there.")
            self.assertEqual(farewell.author, "Storyteller")

    async def test_goes_on_while_the_line_is_down(self) -> None:
        with patch.object(storyteller, "PACE", 500):
            async with ChatCommunicator(application, "/ws/storyteller/") as chat:
                await chat.receive_message()
                await chat.send("a hat")
                await chat.wait_until(lambda: "story about" in chat.messages[-1].content)
                await chat.drop()
                begun = chat.messages[-1].content
                self.assertTrue(await chat.resume())
                story = await chat.receive_message()
                self.assertEqual(await chat.wait_for_turn(), "done")
        self.assertGreater(len(story.content), len(begun))
        self.assertEqual(story.content, "".join(storyteller._tokens("a hat", 0)))


class AskingTests(TransactionTestCase):
    """Bots that ask, offer, and have settings."""

    async def test_a_quiz(self) -> None:
        async with ChatCommunicator(application, "/ws/quiz/") as chat:
            rules = await chat.receive_event("message")
            await chat.send_event("action", rules.data["actions"][0])
            question = await chat.receive_event("ask")
            await chat.answer(question.data["call"], {"content": " Ada "})
            for _, _, right in quiz.QUESTIONS:
                question = await chat.receive_event("ask")
                choice = question.data["actions"][right]
                self.assertNotIn("right", choice["payload"])
                await chat.answer(question.data["call"], {"id": choice["id"]})
            await chat.wait_until(
                lambda: chat.messages[-1].content == "Ada, you have 3 of 3 points."
            )

    async def test_a_quiz_that_is_talked_to(self) -> None:
        async with ChatCommunicator(application, "/ws/quiz/") as chat:
            await chat.receive_message()
            await chat.send("Hello?")
            answer = await chat.receive_message()
            self.assertIn("Press Play", answer.content)

    async def test_nobody_answers(self) -> None:
        with patch.object(quiz, "PATIENCE", 0.01):
            async with ChatCommunicator(application, "/ws/quiz/") as chat:
                rules = await chat.receive_event("message")
                await chat.send_event("action", rules.data["actions"][0])
                last = "stranger, you have 0 of 3 points."
                await chat.wait_until(lambda: chat.messages[-1].content == last)

    async def test_things_to_do(self) -> None:
        async with ChatCommunicator(application, "/ws/todo/") as chat:
            await chat.receive_event("message")
            await chat.send("dishes")
            dishes = await chat.receive_event("message")
            await chat.send("letters")
            letters = await chat.receive_event("message")
            await chat.send_event("action", letters.data["actions"][1])
            await chat.receive_event("message_remove")
            await chat.send_event("action", dishes.data["actions"][0])
            done = await chat.receive_event("message_update")
            self.assertEqual(done.data["content"], "✓ dishes")
            self.assertNotIn("actions", done.data)
            farewell = await chat.receive_event("message")
            self.assertEqual(farewell.data["content"], "That was all.")

    async def test_an_echo_with_settings(self) -> None:
        async with ChatCommunicator(application, "/ws/echo/") as chat:
            await chat.receive_message()
            await chat.send_event("settings", {"voice": "backwards", "times": 2, "taboo": ["b"]})
            answer = await chat.receive_message()
            self.assertEqual(answer.content, "From now on: backwards, 2 time(s).")
            await chat.send("abc")
            answer = await chat.receive_message()
            self.assertEqual(answer.content, "c…a\nc…a")

    async def test_a_clerk(self) -> None:
        async with ChatCommunicator(application, "/ws/clerk/") as chat:
            await chat.receive_message()
            await chat.send("how many?")
            question = await chat.receive_event("ask")
            await chat.answer(question.data["call"], {"content": "Ada"})
            answer = await chat.receive_message()
            self.assertEqual(answer.content, "1 at this moment, Ada.")
            await chat.send("and now?")  # the name is asked for once
            answer = await chat.receive_message()
            self.assertEqual(answer.content, "1 at this moment, Ada.")


class ContentsTests(TransactionTestCase):
    """Bots with profiles, with keys, with a memory, and one without async."""

    async def test_a_guide(self) -> None:
        async with ChatCommunicator(application, "/ws/guide/", profile="Max") as chat:
            greeting = await chat.receive_message()
            self.assertEqual(greeting.author, "Max")
            await chat.send("Rome!")
            answer = await chat.receive_message()
            self.assertEqual(answer.content, guide.MANNERS["Max"].format("Rome"))

    async def test_a_vault(self) -> None:
        env = {"API_KEY": "sesame-42", "REGION": "Bree"}
        async with ChatCommunicator(application, "/ws/vault/", env=env) as chat:
            await chat.receive_message()
            await chat.send("which?")
            answer = await chat.receive_message()
            self.assertEqual(answer.content, "A key of 9 characters that ends in '42', for Bree.")

    async def test_an_assistant(self) -> None:
        with patch.object(assistant, "PACE", 10_000):
            async with ChatCommunicator(application, "/ws/assistant/") as chat:
                await chat.receive_message()
                for text in ("hats", "rain", "tea"):
                    await chat.send(text)
                    answer = await chat.receive_message()
        self.assertEqual(
            answer.content,
            "That makes 3. You began with: “hats”; and just before this you said: “rain”.",
        )

    async def test_a_librarian(self) -> None:
        with patch.object(librarian, "PACE", 10_000):
            async with ChatCommunicator(application, "/ws/librarian/") as chat:
                for number in (1, 2):
                    await chat.send("How do I stream a message, token by token?")
                    self.assertEqual(await chat.wait_for_turn(number), "done")
                    answer = chat.messages[-1]
                    self.assertTrue(
                        answer.content.startswith("From **Messages and events**, *Streaming*:")
                    )
                    self.assertIn("```python\n", answer.content)
                    [file] = answer.files
                    self.assertEqual((file["name"], file["mime"]), ("messages.md", "text/markdown"))
                await chat.send("Xyzzy?")
                await chat.wait_for_turn(3)
                self.assertIn("nothing about that", chat.messages[-1].content)
                steps = [event.data for event in chat.events if event.name == "step_update"]
                self.assertIn("Messages and events: Streaming", steps[0]["output"])
                self.assertEqual(steps[-1]["output"], "nothing")
        self.assertEqual(await SessionFile.objects.acount(), 1)


class RequestTests(TransactionTestCase):
    """A bot whose client sends plain requests."""

    def test_a_telegraph(self) -> None:
        with patch.object(telegraph, "PACE", 10_000):
            for number in (1, 2):
                answer = self.client.post(
                    "/http/telegraph/", {"content": "All well"}, content_type="application/json"
                ).json()
                telegram = answer["events"][-1]["data"]
                self.assertEqual(telegram["content"], "ALL WELL STOP ")
                self.assertEqual(telegram["author"], f"Telegram No. {number}")
        self.assertEqual(self.client.delete("/http/telegraph/").status_code, 204)
        self.assertEqual(ChatSession.objects.get().end_reason, "user")


class PageTests(TestCase):
    """What a browser gets."""

    def test_the_start_page_leads_to_every_bot(self) -> None:
        response = self.client.get("/")
        for slug in BOTS:
            self.assertContains(response, f'href="/chat/{slug}/"')

    def test_a_bots_page_has_its_chat(self) -> None:
        for slug in BOTS:
            response = self.client.get(f"/chat/{slug}/")
            self.assertContains(response, "<chat-session")
            self.assertContains(response, f'src="/ws/{slug}/"')

    def test_a_page_without_a_websocket(self) -> None:
        response = self.client.get("/chat/telegraph/")
        self.assertContains(response, 'action="/http/telegraph/"')
        self.assertNotContains(response, "<chat-session")

    def test_there_is_no_other_bot(self) -> None:
        self.assertEqual(self.client.get("/chat/nobody/").status_code, 404)
