// The answers of a page that has its run inside it: what `api.js` asks a server, asked of the page itself.

const parts = new Map();

function part(name) {
  if (!parts.has(name)) parts.set(name, globalThis.unpackPart(name));
  return parts.get(name);
}

export async function get(path, values = {}, signal = undefined) {
  const head = await part("head");
  if (path === "head") return head;
  const side = head.answers.findIndex((own) => own.label === values.label);
  const start = values.start ?? 0;
  let found;
  if (path === "answers" || path === "clauses") {
    const { problems, rows, clauses } = await part(`answers-${side}`);
    found = { generation: 1, start, done: true, problems, rows: rows.slice(start), clauses: clauses.slice(start) };
  } else {
    const piece = await part(`details-${Math.floor(values.offset / head.piece)}`);
    const known = piece[values.offset]?.[side];
    if (known?.problem) throw new Error(known.problem);
    found = known?.[path];
  }
  signal?.throwIfAborted();
  if (found) return found;
  throw new Error("This page has no room for more of this answer; `text2sql view` has all of it.");
}
