/** What the server tells whoever is logged in. */

export async function get(url: string): Promise<any> {
  const response = await fetch(url, { headers: { Accept: "application/json" }, credentials: "same-origin", cache: "no-store" });
  if (!response.ok) throw new Error(String(response.status));
  return response.json();
}
