/** Files that are loaded when there is something for them to do. */

/** Where a file is: the template tag says so, or it is beside this one. */
export function addressOf(element: HTMLElement, name: string) {
  return new URL(element.getAttribute(`${name}-src`) ?? new URL(`${name}.js`, import.meta.url), document.baseURI).href;
}

/** How often a file could not be loaded. */
const failures: Record<string, number> = {};

/** Load a file. What has failed is tried under another fragment: some browsers remember a failure until the page is left. */
export async function load<T>(address: string): Promise<T> {
  try {
    return await import(address + (failures[address] ? `#${failures[address]}` : ""));
  } catch (error) {
    failures[address] = (failures[address] ?? 0) + 1;
    throw error;
  }
}
