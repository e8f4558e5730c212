/** Files that are loaded when there is something for them to do. */

/** Where a file is: the template tag says so, or it is beside this one. */
export function addressOf(element: HTMLElement, name: string) {
  return new URL(element.getAttribute(`${name}-src`) ?? new URL(`${name}.js`, import.meta.url), document.baseURI).href;
}
