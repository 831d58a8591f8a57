// The questions of a run: the list, its filters, and the one that is open.

import * as address from "./address.js";
import { Answers } from "./answers.js";
import { detail } from "./detail.js";
import { count, el, say, trouble } from "./dom.js";
import { Facets } from "./facets.js";
import { apply } from "./filters.js";
import { QuestionTable } from "./table.js";

// With more questions the clauses are read when somebody asks for them.
const FEW = 3000;

export class Questions {
  // `head` says which answers the run has, and what they are filtered by; `state` is the address.
  constructor(place, run, head, state) {
    Object.assign(this, { place, run, head, state });
  }

  labels() {
    const known = this.head.answers.map((each) => each.label);
    const { a, b } = this.state;
    if (known.includes(a)) return known.includes(b) && b !== a ? [a, b] : [a];
    if (known.includes("base") && known.includes("tuned")) return ["base", "tuned"];
    return known.slice(0, 1);
  }

  async openAnswers() {
    const labels = this.labels();
    this.answers?.stop();
    this.table?.destroy();
    if (!labels.length) {
      this.place.replaceChildren(el("p.wait", {}, "No question has been answered yet."));
      this.answers = this.table = null;
      return;
    }
    const named = new Map(this.head.answers.map((each) => [each.label, each.name]));
    const short = (label) => named.get(label).replace(/, .*/, "") === label ? label : named.get(label);
    this.answers = new Answers(this.run, labels, this.head.vocabulary.clauses);
    this.names = Object.fromEntries(this.answers.sides.map((side, i) => [side, short(labels[i])]));
    this.layOut(labels);
    await this.load();
  }

  layOut(labels) {
    const names = Object.values(this.names);
    this.search = el("input", { type: "search", placeholder: "Search question and SQL", "aria-label": "Search question and SQL",
      value: this.state.q ?? "" });
    this.search.addEventListener("input", () => {
      clearTimeout(this.typing);
      this.typing = setTimeout(() => this.change({ q: this.search.value }, true), 150);
    });
    this.chips = el("div.chips");
    this.amount = el("span.amount", { role: "status" });
    this.damage = el("div");
    const facets = el("aside.facets", { "aria-label": "Filters" });
    const list = el("div.table");
    this.panel = el("div.panel");
    this.split = el("div.split", {}, facets, el("div.middle", {}, list), this.panel);
    const keys = keysDialog();
    this.place.replaceChildren(
      el("div.tools", {},
        this.search, ...this.pickers(labels),
        el("span.grow"), this.amount,
        ...["csv", "json"].map((kind) => el("button", { type: "button", "data-kind": kind,
          onclick: () => this.table.download(kind, `${this.run.replaceAll("/", "-")}.${kind}`) }, kind.toUpperCase())),
        el("button", { type: "button", "aria-haspopup": "dialog", onclick: () => keys.showModal() }, "Keys")),
      this.chips, this.damage, this.split, keys);
    this.facets = new Facets(facets, this.head.vocabulary, this.names,
      (key, value) => this.change({ [key]: value }), (key) => key === "clause" && this.readClauses());
    const sort = this.state.sort ? [{ column: this.state.sort, dir: this.state.dir || "asc" }] : [];
    this.table = new QuestionTable(list, names, sort, (id) => this.change({ id }),
      (field, dir) => this.change({ sort: field, dir }, true));
  }

  pickers(labels) {
    const known = this.head.answers;
    if (known.length < 2) return [];
    const pick = (title, key, place, none) => {
      const choice = el("select", { "aria-label": title },
        none ? el("option", { value: "" }, "alone") : null,
        known.map((each) => el("option", { value: each.label }, each.name)));
      choice.value = labels[place] ?? "";
      choice.addEventListener("change", () => {
        const [a, b] = this.labels();
        // Filters speak of the models that were chosen before.
        this.change({ a, b: b ?? "", [key]: choice.value, status: "", label: "", outcome: "", sort: "", dir: "" });
      });
      return choice;
    };
    return [pick("Answers of", "a", 0, false), el("span.quiet", {}, "against"), pick("Against those of", "b", 1, true)];
  }

  async load() {
    const { answers } = this;
    let first = true;
    const grown = () => {
      if (answers !== this.answers) return;
      if (first) this.show(true);
      else this.amount.textContent = `reading, ${count(answers.rows.length)} so far`;
      first = false;
    };
    try {
      for (const place of answers.labels.keys()) await answers.update(place, grown);
      if (answers !== this.answers) return;
      await this.show(true);
      if (this.state.clause) this.facets.open("clause");
      if (this.state.clause || answers.rows.length <= FEW || this.facets.isOpen("clause")) this.readClauses();
    } catch (error) {
      if (error.name !== "AbortError") trouble(error.message);
    }
  }

  async readClauses() {
    const { answers } = this;
    if (this.parsing) return;
    this.parsing = true;
    let drawn = 0;
    try {
      for (const place of answers.labels.keys()) {
        await answers.readClauses(place, () => {
          const known = answers.rows.filter((row) => row.clauses).length;
          this.facets.say("clause", known < answers.rows.length ? ` ${count(known)} of ${count(answers.rows.length)} read` : "");
          if (Date.now() - drawn > 1500) {
            drawn = Date.now();
            this.show(false);
          }
        });
      }
      await this.show(false);
    } catch (error) {
      if (error.name !== "AbortError") trouble(error.message);
    } finally {
      this.parsing = false;
    }
  }

  // What the state says, on the page.
  async show(renewed) {
    const { answers, state } = this;
    if (!answers) return;
    const { shown, counts } = apply(answers.rows, answers.sides, state);
    this.facets.draw(counts, state);
    const all = answers.rows.length;
    this.amount.textContent = shown === all ? `${count(all)} questions` : `${count(shown)} of ${count(all)} questions`;
    this.drawChips();
    this.damage.replaceChildren(...answers.problems.map((text) => el("p.reason", {}, text)));
    if (renewed) await this.table.set(answers.rows);
    await this.table.filter();
    await this.open(state.id, renewed);
  }

  drawChips() {
    const chip = (key) => {
      const value = this.state[key];
      const [side, name] = value[1] === ":" && ["status", "label"].includes(key)
        ? [`${this.names[value[0]] ?? ""}: `, value.slice(2)] : ["", value];
      return el("button.chip", { type: "button", onclick: () => this.change({ [key]: "" }), "aria-label": `Drop the filter ${key} ${name}` },
        key === "q" ? `“${name}”` : `${side}${name}`, el("span", { "aria-hidden": "true" }, " ×"));
    };
    this.chips.replaceChildren(...address.FILTERS.filter((key) => this.state[key]).map(chip));
  }

  async open(id, again = false) {
    const row = id ? this.answers.byId.get(id) : null;
    const looks = row && JSON.stringify([row.a, row.b]);
    if (!row || this.opened !== id || (again && this.looks !== looks)) {
      this.panel.firstChild?.stop?.();
      this.panel.replaceChildren(...(row
        ? [detail(this.answers, this.names, new Map(this.head.vocabulary.labels), row,
          { close: () => this.change({ id: "" }), step: (by) => this.step(by) })] : []));
      this.split.classList.toggle("opened", Boolean(row));
    }
    this.opened = row ? id : null;
    this.looks = looks;
    await this.table.select(row ? id : null, Boolean(row));
  }

  // State

  change(values, quietly = false) {
    const opens = Object.keys(values).join() === "id";
    this.state = { ...this.state, ...values };
    address.write(this.state, quietly || opens);
    if ("a" in values) this.openAnswers();
    else if (opens) this.open(values.id);
    else if (!("sort" in values)) this.show(false);
    if (opens && values.id) say(`Question ${values.id}`);
  }

  // The address was changed by hand, or by Back.
  follow(state) {
    const before = this.state;
    this.state = state;
    if (!this.answers) return;
    if (before.a !== state.a || before.b !== state.b) this.openAnswers();
    else {
      if (this.search.value !== (state.q ?? "")) this.search.value = state.q ?? "";
      this.show(false);
    }
  }

  key(event) {
    if (!this.table || this.place.querySelector("dialog[open]")) return false;
    // In a report the list has a tree to itself, of which an event's target shows no more than the root.
    const at = event.composedPath()[0];
    const typing = at.matches("input, select, textarea");
    if (event.key === "Escape") return this.leave(typing && at);
    if (typing) return false;
    if (event.key === "/") this.search.select();
    else if (event.key === "j" || event.key === "k") this.step(event.key === "j" ? 1 : -1);
    else if (event.key === "Enter" && this.opened && !at.closest("button, a, summary")) this.panel.firstChild.focus();
    else return false;
    return true;
  }

  step(by) {
    const id = this.table.beside(by);
    if (id) this.change({ id });
  }

  leave(field) {
    if (field) field.blur();
    else if (this.opened) this.change({ id: "" });
    else this.change(Object.fromEntries(address.FILTERS.map((key) => [key, ""])));
    if (!this.state.q) this.search.value = "";
    return true;
  }

  // A file has grown or was written anew.
  async update(changed) {
    let grew = false;
    for (const [place, label] of (this.answers?.labels ?? []).entries()) {
      if (changed(label)) grew = (await this.answers.update(place, () => {})) || grew;
    }
    if (!grew) return;
    await this.show(true);
    if (this.answers.rows.length <= FEW || this.facets.isOpen("clause")) this.readClauses();
  }

  stop() {
    this.answers?.stop();
    this.table?.destroy();
  }
}

function keysDialog() {
  const keys = [[["j", "k"], "next and previous question"], [["Enter"], "go to the answers of the question"],
    [["/"], "search"], [["Esc"], "leave the search, close the question, drop the filters"]];
  return el("dialog.keys", { "aria-label": "Keys" },
    el("h2", {}, "Keys"),
    el("dl", {}, keys.map(([signs, text]) => [el("dt", {}, signs.map((sign) => el("kbd", {}, sign))), el("dd", {}, text)])),
    el("form", { method: "dialog" }, el("button", {}, "Close")));
}
