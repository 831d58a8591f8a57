// The page of one run: what it came to, its curves, its questions.

import { get } from "./questions/api.js";
import { Curves } from "./questions/curves.js";
import { count, el, percent, trouble } from "./questions/dom.js";
import { Questions } from "./questions/questions.js";

const POLL = 2000;

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
    const list = el("div");
    this.config = el("section.config");
    this.main.replaceChildren(this.summary, this.chartPlace,
      el("section.questions", {}, el("h2", {}, "Questions"), list), this.config);
    this.curves = new Curves(this.chartPlace);
    this.questions = new Questions(list, this.run, this.head, this.state);
    this.drawHead();
    await this.questions.openAnswers();
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
    const file = (label) => `predictions-${label}.jsonl`;
    const answered = new Set((this.questions.answers?.labels ?? []).map(file));
    if (changed.some((name) => !answered.has(name))) {
      const known = JSON.stringify(this.head.answers);
      this.head = this.questions.head = await get("overview", { run: this.run });
      this.drawHead();
      if (JSON.stringify(this.head.answers) !== known) await this.questions.openAnswers();
    }
    await this.questions.update((label) => changed.includes(file(label)));
    // Only now, so that what could not be read is asked for again.
    this.stamps = now;
  }

  follow(state) {
    this.state = state;
    this.questions?.follow(state);
  }

  key(event) {
    return this.questions?.key(event);
  }

  stop() {
    this.stopped = true;
    clearInterval(this.timer);
    this.questions?.stop();
    this.curves?.destroy();
  }
}
