// Which questions are shown, and how many there would be for every other choice.

import { FILTERS } from "./address.js";
import { outcome } from "./answers.js";

function text(row) {
  row.text ??= [row.id, row.question, row.gold, row.a?.sql, row.b?.sql].filter(Boolean).join("\n").toLowerCase();
  return row.text;
}

// Of status and label the answer of one model is meant: "b:different".
function values(row, sides, key) {
  return sides.flatMap((side) => {
    const answer = row[side];
    if (!answer) return [];
    if (key === "status") return [`${side}:${answer.status}`];
    return answer.labels.map((label) => `${side}:${label}`);
  });
}

const FACETS = {
  outcome: (row, sides) => [outcome(row, sides.length > 1)],
  status: (row, sides) => values(row, sides, "status"),
  label: (row, sides) => values(row, sides, "label"),
  hardness: (row) => [row.hardness],
  clause: (row) => row.clauses ?? [],
  schema: (row) => (row.cluster === null ? [] : [row.cluster]),
};

// For each question whether it is shown (as `row.shown`), and for each facet the counts of its values: of the
// questions that all other filters let pass, how many, and how many of these each model has right.
export function apply(rows, sides, chosen) {
  const wanted = FILTERS.filter((key) => chosen[key]);
  const search = (chosen.q ?? "").toLowerCase();
  const counts = Object.fromEntries(Object.keys(FACETS).map((key) => [key, new Map()]));
  let shown = 0;
  for (const row of rows) {
    let failed = null;
    let failures = 0;
    for (const key of wanted) {
      const passes = key === "q" ? text(row).includes(search) : FACETS[key](row, sides).includes(chosen[key]);
      if (!passes) {
        failed = key;
        failures += 1;
        if (failures > 1 || key === "q") break;
      }
    }
    row.shown = failures === 0;
    shown += row.shown;
    if (failed === "q" || failures > 1) continue;
    for (const key of failures ? [failed] : Object.keys(FACETS)) {
      for (const value of FACETS[key](row, sides)) add(counts[key], value, row);
    }
  }
  return { shown, counts };
}

function add(counts, value, row) {
  let found = counts.get(value);
  if (!found) counts.set(value, (found = { n: 0, a: 0, b: 0 }));
  found.n += 1;
  if (row.a?.correct) found.a += 1;
  if (row.b?.correct) found.b += 1;
}
