// The address: run, filters, sort and the open question stand behind the #, so that a link leads to the same view.

export const FILTERS = ["outcome", "status", "label", "hardness", "clause", "schema", "q"];

export function read() {
  return Object.fromEntries(new URLSearchParams(location.hash.slice(1)));
}

export function format(values) {
  const kept = Object.entries(values).filter(([, value]) => value);
  return `#${new URLSearchParams(kept)}`;
}

// A step that Back undoes, or with `quietly` none.
export function write(values, quietly = false) {
  const hash = format(values);
  if (hash === (location.hash || "#")) return;
  if (quietly) history.replaceState(null, "", hash);
  else history.pushState(null, "", hash);
}
