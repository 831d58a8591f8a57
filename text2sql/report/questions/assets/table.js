// The list of questions: a table that draws only the rows in sight.

import { TabulatorFull as Tabulator } from "./tabulator/tabulator_esm.min.mjs";
import { el, shown } from "./dom.js";
import { outcome } from "./answers.js";

export function mark(answer) {
  if (!answer) return el("span.mark.none", {}, "–");
  const said = answer.correct ? "right" : answer.status === "equivalent" ? "lenient only" : answer.status;
  return el(`span.mark.${answer.correct ? "right" : "wrong"}`, {}, answer.correct ? "✓ " : "✗ ", said);
}

const plain = (cell) => document.createTextNode(shown(cell.getValue() ?? "").replace(/\s+/g, " "));

// The later ones give way first where the list is narrow.
function columns(names) {
  const sides = ["a", "b"].slice(0, names.length);
  const asked = sides.at(-1);
  const hidden = { visible: false, download: true };
  return [
    ...sides.map((side, place) => ({
      title: names[place], field: `${side}.status`, width: 104, responsive: 0, download: false,
      formatter: (cell) => mark(cell.getData()[side]),
      sorter: (x, y, rowX, rowY) => rank(rowX.getData()[side]) - rank(rowY.getData()[side]),
    })),
    { title: "question", field: "question", formatter: plain, minWidth: 140, widthGrow: 3, responsive: 0, download: true },
    { title: `query, ${names.at(-1)}`, field: `${asked}.sql`, formatter: plain, minWidth: 230, widthGrow: 3, responsive: 1,
      cssClass: "code", download: false },
    { title: "labels", field: `${asked}.labels`, minWidth: 150, widthGrow: 1, responsive: 2, download: false,
      formatter: (cell) => document.createTextNode((cell.getValue() ?? []).join(", ")),
      sorter: (x, y) => (x ?? []).join().localeCompare((y ?? []).join()) },
    { title: "hardness", field: "hardness", width: 106, responsive: 3, formatter: plain, download: true,
      sorter: (x, y) => LEVELS.indexOf(x) - LEVELS.indexOf(y) },
    { title: "id", field: "id", width: 110, responsive: 4, formatter: plain, download: true },
    { title: "schema", field: "cluster", ...hidden },
    { title: "gold", field: "gold", ...hidden },
    ...sides.flatMap((side, place) => [
      { title: `${names[place]} right`, field: `${side}.correct`, ...hidden },
      { title: `${names[place]} verdict`, field: `${side}.status`, ...hidden },
      { title: `${names[place]} labels`, field: `${side}.labels`, ...hidden,
        accessorDownload: (value) => (value ?? []).join(", ") },
      { title: `${names[place]} query`, field: `${side}.sql`, ...hidden },
    ]),
  ];
}

const LEVELS = ["easy", "medium", "hard", "extra"];
const rank = (answer) => (!answer ? 2 : answer.correct ? 0 : 1);

export class QuestionTable {
  // `chosen(id)` when a row is clicked, `sorted(field, dir)` when a heading is.
  constructor(place, names, sort, chosen, sorted) {
    this.names = names;
    this.selected = null;
    this.ready = new Promise((resolve) => {
      this.table = new Tabulator(place, {
        index: "id", height: "100%", layout: "fitColumns", responsiveLayout: "hide", rowHeight: 36, renderVerticalBuffer: 300, columns: columns(names), data: [],
        columnDefaults: { headerHozAlign: "left", headerSortTristate: true },
        initialSort: sort, placeholder: "No question passes these filters.",
        downloadRowRange: "active",
        rowFormatter: (row) => {
          const element = row.getElement();
          element.classList.toggle("chosen", row.getData().id === this.selected);
          element.setAttribute("aria-selected", String(row.getData().id === this.selected));
          element.dataset.outcome = outcome(row.getData(), names.length > 1);
        },
      });
      this.table.on("tableBuilt", resolve);
    });
    this.table.on("rowClick", (event, row) => chosen(row.getData().id));
    this.table.on("headerClick", () => {
      const [by] = this.table.getSorters();
      sorted(by?.field ?? "", by?.dir ?? "");
    });
  }

  async set(rows) {
    await this.ready;
    await this.table.replaceData(rows);
  }

  async filter() {
    await this.ready;
    if (this.filtered) this.table.refreshFilter();
    else this.table.setFilter((row) => row.shown);
    this.filtered = true;
  }

  async select(id, scroll) {
    await this.ready;
    const before = this.selected;
    this.selected = id;
    for (const each of [before, id]) {
      const row = each && this.table.getRow(each);
      if (row) row.reformat();
    }
    const row = id && this.table.getRow(id);
    if (row && scroll && row.getData().shown) await this.table.scrollToRow(row, "nearest", false).catch(() => {});
  }

  // The question after or before the chosen one, in the order and among the rows that are shown.
  beside(step) {
    const row = this.selected && this.table.getRow(this.selected);
    if (!row || !row.getData().shown) return this.table.getRowFromPosition(1)?.getData?.().id ?? null;
    const next = step > 0 ? row.getNextRow() : row.getPrevRow();
    return next ? next.getData().id : null;
  }

  download(kind, name) {
    this.table.download(kind, name);
  }

  destroy() {
    this.table.destroy();
  }
}
