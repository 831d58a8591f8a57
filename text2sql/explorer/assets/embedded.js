// The answers of a page that has its run inside it: what `api.js` asks a server, asked of the page itself.

let held;

async function unpack() {
  const packed = document.getElementById("run").textContent;
  const bytes = Uint8Array.from(atob(packed), (sign) => sign.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return new Response(stream).json();
}

export async function get(path, values = {}, signal = undefined) {
  held ??= unpack();
  const run = await held;
  signal?.throwIfAborted();
  const own = run.answers[values.label];
  const start = values.start ?? 0;
  if (path === "overview") return run.overview;
  if (path === "answers") return { generation: 1, start, done: true, problems: own.problems, rows: own.rows.slice(start) };
  if (path === "clauses") return { generation: 1, start, clauses: own.clauses.slice(start) };
  if (path === "answer" || path === "diff") {
    const found = own[path][values.offset];
    if (found) return found;
    throw new Error("This page has no room for more of this answer; `text2sql view` has all of it.");
  }
  // Nothing is written to any more.
  return {};
}
