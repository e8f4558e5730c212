/** The page's language: what the template tag has written into the page, plurals, numbers and dates. */
import assert from "node:assert/strict";
import { test } from "node:test";

const SHARED = Symbol.for("chatsessions.texts");
const messages = { language: "en", messages: {} };
globalThis.document = { getElementById: (id) => (id === "chatsessions-messages" && messages.text ? { textContent: messages.text } : null) };
globalThis[SHARED] = { save: "Merken" };
const { texts, translate } = await import("../../frontend/element/texts.ts");
const { dateTime, number, size, speak } = await import("../../frontend/element/language.ts");

test("without a catalogue it is English", () => {
  assert.equal(texts.send, "Send");
  assert.equal(texts.timeLeft(60), "60 s left");
  assert.equal(texts.threadsFound(1, 1, 1), "1 conversation");
  assert.equal(texts.threadsFound(21, 2, 3), "21 conversations, page 2 of 3");
});

test("a catalogue that comes later counts, and what the page has assigned before counts more", () => {
  texts.stop = "Halt";
  messages.text = JSON.stringify({
    language: "pl",
    messages: { Send: "Wyślij", Stop: "Zatrzymaj", Save: "Zapisz", Online: "Połączono", "%(count)s conversation": ["%(count)s rozmowa", "%(count)s rozmowy", "%(count)s rozmów", "%(count)s rozmowy"] },
  });
  translate(texts);
  assert.equal(texts.send, "Wyślij");
  assert.equal(texts.states.online, "Połączono");
  assert.equal(texts.stop, "Halt");
  assert.equal(texts.save, "Merken");
  assert.equal(texts.end, "End chat", "what has no translation is English");
});

test("plurals are those of the language", () => {
  speak("pl");
  const found = [1, 2, 5, 22, 25].map((count) => texts.threadsFound(count, 1, 1));
  assert.deepEqual(found, ["1 rozmowa", "2 rozmowy", "5 rozmów", "22 rozmowy", "25 rozmów"]);
});

test("a value that looks like a placeholder stays as it is", () => {
  assert.equal(texts.removeFile("%(name)s $& a"), "Remove %(name)s $& a");
});

test("numbers, sizes and dates are written as in the language, and in the browser's region of it", () => {
  const day = new Date(2026, 4, 1, 13, 5);
  const written = (language) => {
    speak(language);
    return [number(1234.5), size(1_500), dateTime(day, { dateStyle: "short" })];
  };
  assert.deepEqual(written("de"), ["1.234,5", "1,5 kB", "01.05.26"]);
  assert.deepEqual(written("es"), ["1234,5", "1,5 kB", "1/5/26"]);
  assert.deepEqual(written("fr").map((text) => text.replace(/\s/g, " ")), ["1 234,5", "1,5 ko", "01/05/2026"]);
  Object.defineProperty(globalThis, "navigator", { value: { languages: ["de-CH", "en-GB"] }, configurable: true });
  assert.match(written("de")[0], /^1.234\.5$/);
  assert.equal(written("en")[2], "01/05/2026");
  assert.deepEqual(written("de_DE").length, 3, "what is no language is the browser's own");
});
