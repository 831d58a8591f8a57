// The curves and the list of questions, inside of a report.

import { read } from "./address.js";
import { get } from "./api.js";
import { Curves } from "./curves.js";
import { trouble } from "./dom.js";
import { Questions } from "./questions.js";

// A section of the report stands behind the # without "=", filters and a question with it.
const asked = () => location.hash.includes("=");

async function drawCurves() {
  const { charts } = await get("head");
  const place = document.getElementById("curves");
  if (!place || !charts.length) return;
  place.hidden = false;
  document.getElementById("training").classList.add("drawn");
  new Curves(place).draw(charts);
}

class List {
  constructor(section) {
    this.section = section;
    addEventListener("popstate", () => asked() && this.lead());
    addEventListener("keydown", (event) => this.key(event));
    new IntersectionObserver((seen, observer) => {
      if (!seen.some((each) => each.isIntersecting)) return;
      observer.disconnect();
      this.open();
    }, { rootMargin: "100%" }).observe(section);
    if (asked()) this.lead();
  }

  // Once; the promise is kept when all of the list is there.
  open() {
    this.opened ??= this.fill().catch((error) => trouble(error.message));
    return this.opened;
  }

  async fill() {
    const head = await get("head");
    // The list's style sheet and the report's have names in common.
    const tree = document.getElementById("list").attachShadow({ mode: "open" });
    const place = document.createElement("div");
    tree.append(document.getElementById("list-style").content, place);
    this.questions = new Questions(place, head.run, head, asked() ? read() : {});
    await this.questions.openAnswers();
  }

  // To what the address asks for.
  async lead() {
    const known = this.questions;
    await this.open();
    if (known) known.follow(read());
    if (!this.inSight()) this.section.scrollIntoView({ behavior: "instant" });
  }

  inSight() {
    const { top, bottom } = this.section.getBoundingClientRect();
    return top < innerHeight / 2 && bottom > innerHeight / 2;
  }

  key(event) {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented || !this.inSight()) return;
    if (this.questions?.key(event)) event.preventDefault();
  }
}

drawCurves();
const section = document.getElementById("questions");
if (section) new List(section);
