// The page of one run: what it came to, its curves, its questions.

import * as address from "./address.js";
import { Answers } from "./answers.js";
import { get } from "./api.js";
import { Curves } from "./curves.js";
import { detail } from "./detail.js";
import { count, el, percent, say, trouble } from "./dom.js";
import { Facets } from "./facets.js";
import { apply } from "./filters.js";
import { QuestionTable } from "./table.js";

const POLL = 2000;
// With more questions the clauses are read when somebody asks for them.
const FEW = 3000;

export class RunPage {
  constructor(main, where, state) {
    Object.assign(this, { main, where, state, run: state.run });
    this.stamps = {};
    this.begin();
  }

  async begin() {
    this.main.replaceChildren(el("p.wait", {}, "Reading …"));
    this.where.textContent = this.run;
    try {
      this.stamps = await get("stamps", { run: this.run });
      this.head = await get("overview", { run: this.run });
    } catch (error) {
      this.main.replaceChildren(el("p.wait", { role: "alert" }, error.message));
      return;
    }
    if (this.stopped) return;
    document.title = this.head.name;
    this.summary = el("section.summary");
    this.chartPlace = el("div.charts");
    this.questions = el("section.questions");
    this.config = el("section.config");
    this.main.replaceChildren(this.summary, this.chartPlace, this.questions, this.config);
    this.curves = new Curves(this.chartPlace);
    this.drawHead();
    await this.openAnswers();
    this.timer = setInterval(() => document.hidden || this.poll(), POLL);
  }

  drawHead() {
    const { head } = this;
    const report = head.has_report
      ? el("a", { href: `/report?${new URLSearchParams({ run: this.run })}` }, "Report") : null;
    this.summary.replaceChildren(
      el("div.head", {}, el("h1", {}, head.name), report),
      el("p.lead", {}, head.lead.join(" · ")),
      el("dl.scores", {}, Object.entries(head.scores).map(([model, score]) => el("div", {},
        el("dt", {}, model),
        el("dd", {}, el(`span.rate.${model}`, {}, percent(score.accuracy)),
          el("small", {}, `${count(score.correct)} of ${count(score.n)}, ${percent(score.low)} to ${percent(score.high)}`))))),
      head.sentence ? el("p.sentence", {}, head.sentence) : "",
      this.remarks([...head.notes, ...head.problems]));
    this.curves.draw(head.charts);
    this.config.replaceChildren(head.config
      ? el("details", {}, el("summary", {}, "Configuration"), el("pre", {}, head.config)) : "");
  }

  remarks(lines) {
    return lines.length
      ? el("details.notes", {}, el("summary", {}, lines.length === 1 ? "1 note" : `${count(lines.length)} notes`),
        el("ul", {}, lines.map((line) => el("li", {}, line)))) : "";
  }

  // Answers

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
      this.questions.replaceChildren(el("p.wait", {}, "No question has been answered yet."));
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
    this.questions.replaceChildren(
      el("div.tools", {},
        el("h2", {}, "Questions"), this.search, ...this.pickers(labels),
        el("span.grow"), this.amount,
        ...["csv", "json"].map((kind) => el("button", { type: "button", "data-kind": kind,
          onclick: () => this.table.download(kind, `${this.run.replaceAll("/", "-")}.${kind}`) }, kind.toUpperCase()))),
      this.chips, this.damage, this.split);
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
    if (!this.table) return false;
    const typing = event.target.matches("input, select, textarea");
    if (event.key === "Escape") return this.leave(typing);
    if (typing) return false;
    if (event.key === "/") this.search.select();
    else if (event.key === "j" || event.key === "k") this.step(event.key === "j" ? 1 : -1);
    else if (event.key === "Enter" && this.opened && !event.target.closest("button, a, summary")) this.panel.firstChild.focus();
    else return false;
    return true;
  }

  step(by) {
    const id = this.table.beside(by);
    if (id) this.change({ id });
  }

  leave(typing) {
    if (typing) document.activeElement.blur();
    else if (this.opened) this.change({ id: "" });
    else this.change(Object.fromEntries(address.FILTERS.map((key) => [key, ""])));
    if (!this.state.q) this.search.value = "";
    return true;
  }

  // A run that is going on

  async poll() {
    if (this.polling) return;
    this.polling = true;
    try {
      await this.catchUp();
      trouble("");
    } catch (error) {
      if (error.name !== "AbortError") trouble(error.message);
    } finally {
      this.polling = false;
    }
  }

  async catchUp() {
    const now = await get("stamps", { run: this.run });
    const changed = Object.keys({ ...now, ...this.stamps }).filter((name) => now[name] !== this.stamps[name]);
    if (!changed.length || this.stopped) return;
    const answered = new Set((this.answers?.labels ?? []).map((label) => `predictions-${label}.jsonl`));
    if (changed.some((name) => !answered.has(name))) {
      const known = JSON.stringify(this.head.answers);
      this.head = await get("overview", { run: this.run });
      this.drawHead();
      if (JSON.stringify(this.head.answers) !== known) await this.openAnswers();
    }
    let grew = false;
    for (const [place, label] of (this.answers?.labels ?? []).entries()) {
      if (changed.includes(`predictions-${label}.jsonl`)) grew = (await this.answers.update(place, () => {})) || grew;
    }
    // Only now, so that what could not be read is asked for again.
    this.stamps = now;
    if (!grew) return;
    await this.show(true);
    if (this.answers.rows.length <= FEW || this.facets.isOpen("clause")) this.readClauses();
  }

  stop() {
    this.stopped = true;
    clearInterval(this.timer);
    this.answers?.stop();
    this.curves?.destroy();
    this.table?.destroy();
  }
}
