/** Put a text into the clipboard; where a page may not, select what shows it. @returns whether it was copied */
export async function copyText(text: string, shown: Element): Promise<boolean> {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    getSelection()?.selectAllChildren(shown); // to be copied by the keyboard
    return false;
  }
}
