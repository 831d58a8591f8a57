// What the server is asked, and what it says when it cannot answer.

export async function get(path, values = {}, signal = undefined) {
  const query = new URLSearchParams(values).toString();
  let answer;
  try {
    answer = await fetch(`/api/${path}${query ? `?${query}` : ""}`, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("The server does not answer: is `text2sql view` still running?", { cause: error });
  }
  const type = answer.headers.get("content-type") ?? "";
  const body = type.startsWith("application/json") ? await answer.json() : { error: (await answer.text()).trim() };
  if (!answer.ok) throw new Error(body.error ?? "The server could not answer; its terminal says why.");
  return body;
}
