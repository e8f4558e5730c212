/** A page that talks to its bot by plain requests, and reads the answers as they are made. */

/** @type {HTMLFormElement} */
const form = document.querySelector("#telegraph");
const list = document.querySelector("#telegrams");
const note = document.querySelector("#telegraph-note");
const { text, send, end } = form.elements;
/** The key of localStorage that is set while there is a conversation. */
const BEGUN = "telegraph";
/** The messages on the page, by their ids. */
const shown = new Map();

function show(id, author, content) {
  const item = shown.get(id) ?? list.appendChild(document.createElement("li"));
  if (!shown.has(id)) {
    item.append(document.createElement("strong"), document.createElement("p"));
    shown.set(id, item);
  }
  item.firstChild.textContent = author;
  item.lastChild.textContent = content;
}

function apply({ type, ...frame }) {
  if (type === "token") shown.get(frame.message)?.lastChild.append(frame.text);
  else if (type === "stream") show(frame.message, shown.get(frame.message)?.firstChild.textContent, frame.content);
  else if (type === "error") note.textContent = frame.detail;
  else if (type === "event" && frame.n) show(frame.data.id, "You", frame.data.content);
  else if (type === "event" && frame.name.startsWith("message")) show(frame.data.id, frame.data.author, frame.data.content);
}

/** The frames of a stream of server-sent events, one after another. */
async function* framesOf(response) {
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (let part = await reader.read(); !part.done; part = await reader.read()) {
    const lines = (rest + part.value).split("\n");
    rest = lines.pop();
    for (const line of lines) if (line.startsWith("data: ")) yield JSON.parse(line.slice(6));
  }
}

/** Send a request, and show the answer. Only the login's cookies say whose session it is. */
async function ask(method, body) {
  send.disabled = end.disabled = true;
  note.textContent = "";
  try {
    const headers = { Accept: "text/event-stream", "Content-Type": "application/json", "X-CSRFToken": form.elements.csrfmiddlewaretoken.value };
    const response = await fetch(form.action, { method, headers, body: body && JSON.stringify(body) });
    if (response.ok && response.body) for await (const frame of framesOf(response)) apply(frame);
    else if (response.status !== 404) note.textContent = (await response.json()).detail;
    return response.ok;
  } catch {
    note.textContent = "The line is down. Reload the page to hear what became of it.";
    return false;
  } finally {
    send.disabled = end.disabled = false;
    text.focus();
  }
}

form.addEventListener("submit", (event) => {
  event.preventDefault();
  const message = { content: text.value, id: crypto.randomUUID() };
  text.value = "";
  show(message.id, "You", message.content);
  localStorage.setItem(BEGUN, "yes");
  ask("POST", message);
});

end.addEventListener("click", async () => {
  if (!(await ask("DELETE"))) return;
  localStorage.removeItem(BEGUN);
  shown.clear();
  list.replaceChildren();
});

// Show the messages so far, and the answer that the bot is writing now.
if (localStorage.getItem(BEGUN)) ask("GET");
