// The desk: a list that stays still under the hand, and one card beside it.
import { listen, part } from "./live.js";
import { keys, settle } from "./keys.js";
import { tell } from "./tell.js";
import { showTimes } from "./time.js";

const main = document.getElementById("main");
const queue = document.getElementById("queue");
const side = queue.parentElement;
const panel = document.getElementById("card");
const arrivals = document.getElementById("arrivals");
const rest = document.title.replace(/^\(\d+\) /, "");
let waiting = null; // the newest list, when it has rows that are not shown yet
let asking = false;
let again = false;

const rowsOf = (root) => [...root.querySelectorAll(".rows > li")];
const touched = () => side.matches(":hover") || side.contains(document.activeElement);
const address = () => `${main.dataset.queue}?list=${queue.dataset.list}`;

function numbers(fresh) {
  for (const tab of fresh.querySelectorAll(".tabs [data-tab] b")) {
    const here = queue.querySelector(`[data-tab="${tab.parentElement.dataset.tab}"] b`);
    if (here && here.textContent !== tab.textContent) here.textContent = tab.textContent;
  }
  const needs = Number(fresh.querySelector(".rows")?.dataset.needs ?? 0);
  document.title = (needs ? `(${needs}) ` : "") + rest;
}

function mark() {
  const shown = panel.querySelector("[data-request]")?.dataset.request;
  for (const row of rowsOf(queue)) {
    const link = row.querySelector(".row");
    const here = row.dataset.id === shown;
    link.classList.toggle("here", here);
    here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
}

function pill(count) {
  const button = queue.querySelector(".new");
  button.hidden = count === 0;
  button.textContent = `${count} new request${count === 1 ? "" : "s"}`;
}

// The whole list as the server has it. Only when nobody points at it, or because somebody asked.
function replace(fresh, focus) {
  const known = new Set(rowsOf(queue).map((row) => row.dataset.id));
  queue.replaceChildren(...fresh.childNodes);
  waiting = null;
  mark();
  showTimes(queue);
  settle();
  if (focus) (rowsOf(queue).find((row) => !known.has(row.dataset.id)) ?? rowsOf(queue)[0])?.querySelector(".row")?.focus();
}

function merge(fresh) {
  numbers(fresh);
  const shown = new Map(rowsOf(queue).map((row) => [row.dataset.id, row]));
  const come = new Map(rowsOf(fresh).map((row) => [row.dataset.id, row]));
  const added = [...come.keys()].filter((id) => !shown.has(id));
  const gone = [...shown.keys()].filter((id) => !come.has(id));
  for (const [id, row] of come) {
    const old = shown.get(id);
    if (!old) continue;
    old.classList.remove("gone");
    if (old.dataset.version !== row.dataset.version) {
      // In place, and the link itself stays, so that neither focus nor position is lost.
      old.dataset.version = row.dataset.version;
      old.querySelector(".row").replaceChildren(...row.querySelector(".row").cloneNode(true).childNodes);
      showTimes(old);
    }
  }
  for (const id of gone) {
    shown.get(id).classList.add("gone");
    const left = shown.get(id).querySelector(".left");
    if (left && !shown.get(id).querySelector(".over")) {
      const over = document.createElement("span");
      over.className = "left over";
      over.textContent = "left the list";
      left.replaceWith(over);
    }
  }
  const heard = new Set(waiting ? rowsOf(waiting).map((row) => row.dataset.id) : []);
  const news = added.filter((id) => !heard.has(id));
  waiting = added.length || gone.length ? fresh : null;
  pill(added.length);
  if (news.length) {
    arrivals.textContent = `${news.length} new request${news.length === 1 ? "" : "s"}`;
    if (queue.dataset.list === "needs-you") for (const id of news) tell(come.get(id).dataset.tool, come.get(id).dataset.risk);
  }
  // An empty list has nothing that could move; rows that left go once nobody points at them.
  if (waiting && ((shown.size === 0 && !touched()) || (added.length === 0 && !touched()))) replace(waiting, false);
}

function tidy() {
  if (!waiting || touched()) return;
  const added = rowsOf(waiting).some((row) => !document.getElementById(row.id) || !queue.contains(document.getElementById(row.id)));
  if (!added) replace(waiting, false);
  else for (const row of queue.querySelectorAll(".gone")) row.remove();
}

async function everything() {
  if (asking) {
    again = true;
    return;
  }
  asking = true;
  try {
    do {
      again = false;
      const fresh = await part(address());
      if (fresh) merge(fresh);
      await card();
    } while (again);
  } finally {
    asking = false;
  }
}

// The card: the timeline grows by itself; anything that could matter to an answer waits for the reader's own click.
async function card() {
  const shown = panel.querySelector("[data-request]");
  if (!shown) return;
  const fresh = (await part(`/requests/${encodeURIComponent(shown.dataset.request)}/`))?.querySelector("[data-request]");
  if (!fresh || fresh.dataset.request !== panel.querySelector("[data-request]")?.dataset.request) return;
  const threads = [shown.querySelector("#thread ol"), fresh.querySelector("#thread ol")];
  if (threads[0] && threads[1] && threads[0].children.length !== threads[1].children.length) {
    threads[0].replaceChildren(...threads[1].cloneNode(true).childNodes);
    showTimes(threads[0]);
  }
  if (fresh.dataset.version !== shown.dataset.version) {
    shown.querySelector(".changed").hidden = false;
    shown.querySelector(".changed a").href = location.href;
    for (const act of shown.querySelectorAll(".decide [data-act]")) {
      act.setAttribute("aria-disabled", "true");
      act.removeAttribute("href");
    }
  }
}

async function open(link, push) {
  main.setAttribute("aria-busy", "true");
  const fresh = await part(link);
  main.removeAttribute("aria-busy");
  if (!fresh) return;
  panel.replaceChildren(...fresh.childNodes);
  document.getElementById("lists-title")?.remove();
  main.classList.add("reading");
  if (push) history.pushState(null, "", link);
  mark();
  showTimes(panel);
  settle();
  scrollTo(0, 0);
  panel.querySelector("#card-title")?.focus({ preventScroll: true });
}

queue.addEventListener("click", (event) => {
  if (event.target.closest(".new")) {
    if (waiting) replace(waiting, true);
    return;
  }
  const link = event.target.closest("a.row");
  if (!link || event.metaKey || event.ctrlKey || event.shiftKey || event.button !== 0) return;
  event.preventDefault();
  open(link.getAttribute("href"), true);
});
side.addEventListener("pointerleave", () => setTimeout(tidy, 0));
side.addEventListener("focusout", () => setTimeout(tidy, 0));
panel.addEventListener("click", (event) => {
  if (event.target.closest(".changed a")) {
    event.preventDefault();
    open(location.pathname + location.search, false);
  }
});
addEventListener("popstate", () => location.reload());

let soon = 0;
listen({
  changed() {
    clearTimeout(soon);
    soon = setTimeout(everything, 60);
  },
  everything,
});
keys({ rows: () => rowsOf(queue).map((row) => row.querySelector(".row")), card: () => panel.querySelector(".card") });
