// Bars beside the list: how many answers there are of each kind, each a filter.

import { count, el, percent } from "./dom.js";

const MOST = 12;
const TITLES = { outcome: "Outcome", status: "Verdict", label: "Error label", hardness: "Hardness",
  clause: "Clause of the gold query", schema: "Schema" };
// Of these every model has its own bar.
const OWN = ["status", "label"];

export class Facets {
  // `choose(key, value)` when a bar is clicked; `wanted(key)` when a group is opened.
  constructor(place, vocabulary, names, choose, wanted) {
    Object.assign(this, { place, vocabulary, names, choose });
    this.groups = {};
    for (const [key, title] of Object.entries(TITLES)) {
      const body = el("div.bars");
      const more = el("small");
      const group = el("details", { open: !["schema", "clause"].includes(key) && !matchMedia("(max-width: 50rem)").matches },
        el("summary", {}, title, more), body);
      group.addEventListener("toggle", () => group.open && wanted(key));
      this.groups[key] = { group, body, more };
      place.append(group);
    }
  }

  isOpen(key) {
    return this.groups[key].group.open;
  }

  open(key) {
    this.groups[key].group.open = true;
  }

  say(key, text) {
    this.groups[key].more.textContent = text;
  }

  draw(counts, chosen) {
    for (const key of Object.keys(TITLES)) {
      const own = OWN.includes(key);
      const rows = own ? this.ownRows(key, counts[key], chosen[key]) : this.rows(key, counts[key], chosen[key]);
      this.groups[key].group.hidden = !rows.length && key !== "clause";
      this.groups[key].body.replaceChildren(...rows);
    }
  }

  order(key) {
    const known = { status: this.vocabulary.statuses, hardness: this.vocabulary.hardness,
      clause: this.vocabulary.clauses, outcome: ["won", "lost", "both right", "both wrong", "right", "wrong", "one answer"] };
    return known[key];
  }

  sorted(key, found) {
    const order = this.order(key);
    if (order) return [...order.filter((v) => found.has(v)), ...[...found.keys()].filter((v) => !order.includes(v))];
    return [...found.keys()].sort((x, y) => total(found.get(y)) - total(found.get(x)) || (x < y ? -1 : 1));
  }

  rows(key, found, chosen) {
    const most = Math.max(1, ...[...found.values()].map((each) => each.n));
    const names = this.sorted(key, found);
    const listed = names.slice(0, MOST);
    if (chosen && !listed.includes(chosen)) listed.push(chosen);
    const rows = listed.map((value) => {
      const { n, a, b } = found.get(value) ?? { n: 0, a: 0, b: 0 };
      const rates = key === "outcome" || !n ? "" : Object.keys(this.names).map((s) => percent((s === "a" ? a : b) / n)).join(" → ");
      return el("div.row", {}, this.bar(key, value, value, n, most, chosen === value, rates));
    });
    return names.length > MOST ? [...rows, this.others(key, names)] : rows;
  }

  // A name, and for each model how many.
  ownRows(key, found, chosen) {
    const byName = new Map();
    for (const [value, { n }] of found) {
      const side = value[0];
      const name = value.slice(2);
      byName.set(name, { ...byName.get(name), [side]: n });
    }
    if (chosen) byName.set(chosen.slice(2), byName.get(chosen.slice(2)) ?? {});
    const most = Math.max(1, ...[...byName.values()].flatMap((each) => Object.values(each)));
    return this.sorted(key, byName).map((name) => el("div.row", {},
      el("span.name", { title: key === "label" ? (new Map(this.vocabulary.labels).get(name) ?? null) : null }, name),
      Object.entries(this.names).map(([side, model]) => this.bar(
        key, `${side}:${name}`, model, byName.get(name)[side] ?? 0, most, chosen === `${side}:${name}`, "", side))));
  }

  bar(key, value, name, n, most, pressed, rates, side = "") {
    const meter = el("span.meter", { "aria-hidden": "true" });
    meter.style.width = `${(100 * n) / most}%`;
    return el(`button.facet${side ? `.${this.colour(side)}` : ""}`,
      { type: "button", "aria-pressed": String(pressed), "data-key": key, "data-value": value,
        onclick: () => this.choose(key, pressed ? "" : value) },
      meter, el("span.text", {}, name), el("span.amount", {}, rates ? el("small", {}, rates) : null, count(n)));
  }

  colour(side) {
    return Object.keys(this.names).length === 1 && this.names.a.startsWith("tuned") ? "b" : side;
  }

  others(key, names) {
    const list = `${key}-names`;
    const input = el("input", { type: "text", list, placeholder: `one of ${count(names.length)}`, "aria-label": TITLES[key] });
    input.addEventListener("change", () => names.includes(input.value) && this.choose(key, input.value));
    return el("div.row", {}, input, el("datalist", { id: list }, names.slice(0, 1000).map((name) => el("option", { value: name }))));
  }
}

const total = (each) => each.n ?? Object.values(each).reduce((sum, value) => sum + value, 0);
