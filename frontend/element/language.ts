/** The language of the page: its messages and plurals, its numbers and dates. */

/**
 * What the template tag writes into the page. Of a message with a plural there are all forms, in the
 * order in which CLDR names them.
 */
type Catalogue = { language: string; messages: Record<string, string | string[]> };

/** Where the tag writes it. */
const ID = "chatsessions-messages";
const FORMS = ["zero", "one", "two", "few", "many", "other"];

let catalogue: Catalogue | undefined;
/** That of numbers and dates; the browser's where nobody says. */
let locale: string | undefined;

/** What the page has of a message. It may come with an element that a script puts into the page. */
function known(message: string) {
  const text = catalogue ? null : globalThis.document?.getElementById(ID)?.textContent;
  if (text) catalogue = JSON.parse(text);
  return catalogue?.messages[message];
}

/** A message in the page's language. */
export function translated(message: string): string {
  const found = known(message);
  return typeof found === "string" ? found : message;
}

/** A message about a number of things. */
export function ngettext(one: string, other: string, count: number): string {
  const forms = known(one);
  if (!Array.isArray(forms)) return count === 1 ? one : other;
  const rules = new Intl.PluralRules(catalogue?.language);
  const { pluralCategories } = rules.resolvedOptions();
  const index = FORMS.filter((form) => (pluralCategories as string[]).includes(form)).indexOf(rules.select(count));
  return forms[Math.min(index, forms.length - 1)] ?? other;
}

/** A message in the page's language, with values in the place of `%(name)s`. */
export function put(message: string, values: Record<string, string | number>): string {
  return translated(message).replace(/%\((\w+)\)s/g, (_, name) => {
    const value = values[name];
    return typeof value === "number" ? number(value) : String(value);
  });
}

/**
 * Speak a language from now on. Numbers and dates are those of the browser's region, if it speaks the
 * language: Austria's, where the page is in `de` and the browser in `de-AT`.
 */
export function speak(language = "") {
  const regional = globalThis.navigator?.languages?.find((tag) => language && tag.startsWith(`${language}-`));
  try {
    [locale] = Intl.getCanonicalLocales(regional ?? (language || []));
  } catch {
    locale = undefined; // it is no language
  }
}

export function number(value: number, options?: Intl.NumberFormatOptions) {
  return value.toLocaleString(locale, options);
}

export function dateTime(time: Date, options?: Intl.DateTimeFormatOptions) {
  return time.toLocaleString(locale, options);
}

/** A size of so many bytes in words. */
export function size(bytes: number) {
  if (bytes < 1000) return unit(bytes, "byte", "long");
  return bytes < 999_500 ? unit(bytes / 1000, "kilobyte") : unit(bytes / 1e6, "megabyte");
}

export function unit(value: number, unit: string, unitDisplay: "long" | "short" = "short") {
  return number(value, { style: "unit", unit, unitDisplay, maximumFractionDigits: value < 10 ? 1 : 0 });
}
