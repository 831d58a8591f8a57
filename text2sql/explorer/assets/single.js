// The page of the one run that is inside it.

import { read } from "./address.js";
import { RunPage } from "./run.js";

const run = document.title;
const state = () => ({ ...read(), run });
const page = new RunPage(document.getElementById("main"), document.getElementById("where"), state());

addEventListener("popstate", () => page.follow(state()));
addEventListener("keydown", (event) => {
  const open = document.querySelector("dialog[open]");
  if (open || event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
  if (page.key(event)) event.preventDefault();
});
document.getElementById("help").addEventListener("click", () => document.getElementById("keys").showModal());
