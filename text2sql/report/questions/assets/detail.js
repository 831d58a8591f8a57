// One question with all that is known of its answers.

import { get } from "./api.js";
import { el, say } from "./dom.js";
import { mark } from "./table.js";

let comparing = false;

export function detail(answers, names, meanings, row, { close, step }) {
  const sides = answers.sides.filter((side) => row[side]);
  const place = el("div.answers");
  const panel = el("article.detail", { tabindex: "-1", "aria-label": `Question ${row.id}` },
    el("div.head", {},
      el("span.tag", {}, [row.id, row.hardness, row.cluster].filter(Boolean).join(" · ")),
      el("span.steps", {},
        el("button", { type: "button", onclick: () => step(-1), "aria-label": "Previous question" }, "↑"),
        el("button", { type: "button", onclick: () => step(1), "aria-label": "Next question" }, "↓"),
        el("button", { type: "button", onclick: close, "aria-label": "Close the question" }, "Close"))),
    el("h2", {}, row.question),
    sql("Gold query", row.gold),
    place);
  const stopped = new AbortController();
  for (const side of sides) {
    const slot = el("section", {}, el("h3", {}, names[side], " ", mark(row[side])));
    place.append(slot);
    fill(slot, answers, side, row, meanings, stopped.signal);
  }
  panel.stop = () => stopped.abort();
  return panel;
}

async function fill(slot, answers, side, row, meanings, signal) {
  const at = answers.sides.indexOf(side);
  const asked = { run: answers.run, label: answers.labels[at], generation: answers.read[at].generation,
    offset: row[side].offset };
  let full;
  try {
    full = await get("answer", asked, signal);
  } catch (error) {
    if (error.name !== "AbortError") slot.append(el("p.reason", { role: "alert" }, error.message));
    return;
  }
  const labels = full.labels.map((label) => el("span.label", { title: meanings.get(label) ?? null }, label));
  slot.append(
    el("p.reason", {}, full.reason, labels.length ? el("span.labels", {}, labels) : null),
    sql("Query", full.sql || "", full.sql ? "" : "There is no query in the answer."));
  if (full.sql && !full.correct) slot.append(byTree(asked, signal));
  for (const remark of full.remarks) slot.append(el("p.reason", {}, remark));
  if (full.witness) slot.append(witness(full.witness));
  slot.append(
    folded("Thought", full.thought), folded("Answer as it was written", full.raw),
    folded("Prompt", full.prompt), folded("Schema", full.context), facts(full.facts));
}

function sql(title, text, instead = "") {
  return el("div.sql", {},
    el("div.head", {}, el("h4", {}, title), text ? copier(text) : null),
    el("pre", {}, text || instead));
}

function copier(text) {
  const button = el("button.copy", { type: "button" }, "Copy");
  button.addEventListener("click", async () => {
    try {
      await navigator.clipboard.writeText(text);
      button.textContent = "Copied";
    } catch {
      // Without leave for the clipboard the text is there to be marked.
      getSelection().selectAllChildren(button.closest(".sql").querySelector("pre"));
      button.textContent = "Marked";
    }
    say(button.textContent);
    setTimeout(() => { button.textContent = "Copy"; }, 1500);
  });
  return button;
}

const MEANT = { missing: "in the gold query alone", extra: "in the model's alone", changed: "changed", moved: "moved" };

function byTree(asked, signal) {
  const place = el("div.trees");
  const fold = el("details", { open: comparing }, el("summary", {}, "Difference by tree"), place);
  let begun = false;
  fold.addEventListener("toggle", async () => {
    comparing = fold.open;
    if (!fold.open || begun) return;
    begun = true;
    try {
      const found = await get("diff", asked, signal);
      const used = new Set([...found.gold, ...found.predicted].map((piece) => piece.change).filter(Boolean));
      place.append(
        el("div.pair", {}, pieces("Gold", found.gold), pieces("Model", found.predicted)),
        el("p.legend", {}, found.remark || null, [...used].map((c) => el(`span.change.${c}`, {}, MEANT[c]))));
    } catch (error) {
      if (error.name !== "AbortError") place.append(el("p.reason", {}, error.message));
    }
  });
  return fold;
}

function pieces(title, all) {
  return el("div", {}, el("h5", {}, title), el("pre", {}, all.map((piece) =>
    (piece.change ? el(`span.change.${piece.change}`, { title: MEANT[piece.change] }, piece.text) : piece.text))));
}

function witness(found) {
  return el("div.witness", {},
    el("h4", {}, "A database that shows the difference"),
    el("div.grids", {}, found.tables.map(grid)),
    found.remarks.map(([name, text]) => el("p.reason", {}, `${name}: ${text}`)),
    el("div.grids", {}, found.results.map(grid)));
}

function grid(table) {
  const cells = (row) => row.map((cell) => el("td", {}, cell === null ? el("span.null", {}, "NULL") : cell));
  return el("table", {},
    el("caption", {}, table.title),
    el("thead", {}, el("tr", {}, table.columns.map((name) => el("th", { scope: "col" }, name)))),
    el("tbody", {},
      table.rows.length ? table.rows.map((row) => el("tr", {}, cells(row)))
        : el("tr", {}, el("td.null", { colspan: Math.max(1, table.columns.length) }, "no rows")),
      table.left_out ? el("tr", {}, el("td.null", { colspan: table.columns.length }, table.left_out)) : null));
}

function folded(title, text) {
  return text ? el("details", {}, el("summary", {}, title), el("div.sql", {}, copier(text), el("pre", {}, text))) : "";
}

function facts(all) {
  return el("dl.facts", {}, all.map(([name, value]) => el("div", {}, el("dt", {}, name), el("dd", {}, value))));
}
