/** Which of a chat's profiles a conversation begins with. */
import type { Formatting } from "../formatting.ts";
import { create, namedIcon, texts } from "./kit.ts";
import { get } from "./server.ts";

export type Profile = { name: string; display_name?: string | null; markdown_description?: string; icon?: string | null; default?: boolean };

/**
 * A form that asks for one, or the name of the only one.
 * @param given JSON of the page's own, or nothing: the server is asked for those of a chat
 * @param base where `chatsessions.urls` is included
 * @param before the one of the conversation before
 */
export async function profileChoice(given: string | null, base: string, chat: string, before: string | undefined, formatting: Formatting, chosen: (name: string) => void) {
  const profiles = profilesIn(given?.trim() ? json(given) : await get(`${base}profiles/?${new URLSearchParams({ chat })}`));
  return profiles.length > 1 ? profileForm(profiles, before, formatting, chosen) : profiles[0]?.name;
}

function json(text: string): unknown {
  try {
    return JSON.parse(text);
  } catch {
    return null;
  }
}

function profilesIn(value: any): Profile[] {
  const list = Array.isArray(value) ? value : value?.profiles;
  return Array.isArray(list) ? list.filter((profile) => typeof profile?.name === "string" && profile.name) : [];
}

function profileForm(profiles: Profile[], before: string | undefined, formatting: Formatting, chosen: (name: string) => void) {
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
