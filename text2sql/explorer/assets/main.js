// Which page is shown: that of the run in the address, or the list of runs.

import { read } from "./questions/address.js";
import { trouble } from "./questions/dom.js";
import { RunPage } from "./run.js";
import { RunsPage } from "./runs.js";

const main = document.getElementById("main");
const where = document.getElementById("where");
let page = null;
let run = null;

function follow() {
  const state = read();
  if (page && run === (state.run ?? "")) {
    page.follow(state);
    return;
  }
  page?.stop();
  trouble("");
  run = state.run ?? "";
  page = run ? new RunPage(main, where, state) : new RunsPage(main, where);
}

addEventListener("popstate", follow);
addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (page?.key(event)) event.preventDefault();
});
document.getElementById("home").addEventListener("click", (event) => {
  event.preventDefault();
  history.pushState(null, "", location.pathname);
  follow();
});
follow();
