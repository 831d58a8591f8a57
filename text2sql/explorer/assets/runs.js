// The list of the runs in the directory.

import { get } from "./questions/api.js";
import { format } from "./questions/address.js";
import { ago, el, percent, size, trouble } from "./questions/dom.js";

const POLL = 4000;

export class RunsPage {
  constructor(main, where) {
    this.chosen = new Set();
    this.main = main;
    this.where = where;
    this.compare = el("button", { type: "button", disabled: true, onclick: () => this.open() }, "Compare");
    this.body = el("tbody");
    this.others = el("ul.others");
    main.replaceChildren(el("section.runs", {},
      el("div.head", {}, el("h1", {}, "Runs"), this.compare),
      el("div.scroll", {}, el("table.list", {},
        el("thead", {}, el("tr", {}, ["", "run", "state", "base", "tuned", "model", "on disk", "written"]
          .map((name) => el("th", { scope: "col" }, name || el("span.unseen", {}, "choose"))))),
        this.body)),
      this.others));
    document.title = "Runs";
    this.refresh();
    this.timer = setInterval(() => document.hidden || this.refresh(), POLL);
  }

  async refresh() {
    try {
      const found = await get("runs");
      const text = JSON.stringify(found);
      trouble("");
      if (this.stopped) return;
      this.where.textContent = found.directory;
      if (text !== this.text) this.draw(found.runs);
      this.text = text;
    } catch (error) {
      trouble(error.message);
    }
  }

  draw(runs) {
    const ids = new Set(runs.map((run) => run.id));
    this.chosen = new Set([...this.chosen].filter((id) => ids.has(id)));
    const listed = runs.filter((run) => run.state);
    this.body.replaceChildren(...listed.flatMap((run) => this.row(run)));
    if (!listed.length) {
      this.body.append(el("tr", {}, el("td", { colspan: 8 }, "No run is here yet; `text2sql run` makes one.")));
    }
    const others = runs.filter((run) => !run.state);
    this.others.replaceChildren(...others.map((run) => el("li", {}, `${run.id}: ${run.problem}`)));
    this.count();
  }

  row(run) {
    const box = el("input", { type: "checkbox", "aria-label": `Choose ${run.id}`, checked: this.chosen.has(run.id) });
    box.addEventListener("change", () => {
      this.chosen[box.checked ? "add" : "delete"](run.id);
      this.count();
    });
    const link = el("a", { href: format({ run: run.id }) }, run.id === "." ? run.name : run.id);
    const score = (found) => el("td.number", {}, found ? percent(found.accuracy) : "–");
    const line = el("tr", {},
      el("td", {}, box),
      el("td", {}, link),
      el("td", {}, run.state), score(run.base), score(run.tuned),
      el("td", {}, run.base_model), el("td.number", {}, size(run.size)), el("td", {}, ago(run.written)));
    return run.problem ? [line, el("tr.problem", {}, el("td"), el("td", { colspan: 7 }, run.problem))] : [line];
  }

  count() {
    this.compare.disabled = this.chosen.size < 2;
    this.compare.textContent = this.chosen.size < 2 ? "Compare: choose two or more" : `Compare ${this.chosen.size} runs`;
  }

  open() {
    location.href = `/compare?${new URLSearchParams([...this.chosen].map((id) => ["run", id]))}`;
  }

  follow() {}

  key() {}

  stop() {
    this.stopped = true;
    clearInterval(this.timer);
  }
}
