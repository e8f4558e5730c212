/** Which of a chat's profiles a conversation begins with. */
import { create } from "./dom.ts";
import type { Formatting } from "./formatting.ts";
import { namedIcon } from "./icons.ts";
import { texts } from "./texts.ts";

export type Profile = { name: string; display_name?: string | null; markdown_description?: string; icon?: string | null; default?: boolean };

/**
 * The profiles that a page was given, in its attribute.
 * @param text JSON, or nothing
 * @returns null: the server is to be asked
 */
export function profilesIn(text: string | null): Profile[] | null {
  if (!text?.trim()) return null;
  try {
    return profiles(JSON.parse(text));
  } catch {
    return [];
  }
}

/**
 * The profiles of a chat, as the server has them for this person.
 * @param base where `chatsessions.urls` is included
 */
export async function fetchProfiles(base: string, chat: string): Promise<Profile[]> {
  const response = await fetch(`${base}profiles/?${new URLSearchParams({ chat })}`, { headers: { Accept: "application/json" }, credentials: "same-origin" });
  if (!response.ok) throw new Error(`${response.status}`);
  return profiles(await response.json());
}

function profiles(value: any): Profile[] {
  const list = Array.isArray(value) ? value : value?.profiles;
  return Array.isArray(list) ? list.filter((profile) => typeof profile?.name === "string" && profile.name) : [];
}

/** A form that asks for one. @param before the one of the conversation before */
export function profileForm(profiles: Profile[], before: string | undefined, formatting: Formatting, chosen: (name: string) => void) {
  const first = profiles.find(({ name }) => name === before) ?? profiles.find((profile) => profile.default) ?? profiles[0];
  const choices = profiles.map((profile, index) => choice(profile, `profile-${index}`, profile === first, formatting));
  const form = create("form", { part: "profiles" },
    create("fieldset", { part: "profile-list" }, create("legend", { part: "profile-title" }, texts.profiles), ...choices),
    create("button", { type: "submit", part: "primary" }, texts.start),
  );
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    const name = new FormData(form).get("profile");
    if (typeof name === "string") chosen(name);
  });
  return form;
}

function choice({ name, display_name: shown, markdown_description: description, icon }: Profile, id: string, checked: boolean, formatting: Formatting) {
  const words = description ? create("span", { part: "profile-description", id: `${id}-text` }) : null;
  if (words && description) formatting.show(words, description);
  return create("label", { part: "profile-choice" },
    create("input", { type: "radio", name: "profile", value: name, id, checked, "aria-describedby": description ? `${id}-text` : null }),
    create("span", { part: "profile-words" },
      create("span", { part: "profile-name" }, namedIcon(icon), create("bdi", {}, shown || name)),
      words,
    ),
  );
}

/** The choice, in the conversation's place until it is made. */
export class ProfileChoice {
  #place;
  #formatting;
  #request = 0;

  constructor(place: HTMLElement, formatting: Formatting) {
    this.#place = place;
    this.#formatting = formatting;
  }

  /** Forget a question that is still open. */
  cancel() {
    this.#request += 1;
    this.#place.replaceChildren();
  }

  /** Ask, unless there is nothing to choose. @param before the profile of the conversation before */
  async ask(load: () => Promise<Profile[]>, before: string | undefined, chosen: (name: string | undefined) => void) {
    const request = ++this.#request;
    this.#place.replaceChildren(create("p", { part: "empty" }, texts.loading));
    const content = await this.#content(load, before, chosen);
    if (request !== this.#request) return;
    if (typeof content === "object") this.#place.replaceChildren(content);
    else chosen(content);
  }

  async #content(load: () => Promise<Profile[]>, before: string | undefined, chosen: (name: string | undefined) => void) {
    try {
      const profiles = await load();
      return profiles.length > 1 ? profileForm(profiles, before, this.#formatting, chosen) : profiles[0]?.name;
    } catch {
      const again = create("button", { type: "button", part: "primary" }, texts.tryAgain);
      again.addEventListener("click", () => void this.ask(load, before, chosen));
      return create("div", { part: "profiles" }, create("p", { role: "alert" }, texts.profilesFailed), again);
    }
  }
}
