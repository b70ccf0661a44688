// The desk: a list that stays still under the hand, and one card beside it.
import { listen, part, watch } from "./live.js";
import { keys, settle } from "./keys.js";
import { tell } from "./tell.js";
import { showTimes } from "./time.js";

const main = document.getElementById("main");
const queue = document.getElementById("queue");
const side = queue.parentElement;
const panel = document.getElementById("card");
const arrivals = document.getElementById("arrivals");
const many = document.getElementById("many");
const rest = document.title.replace(/^\(\d+\) /, "");
let waiting = null; // the newest list, as long as it says something that is not shown yet
let asking = false;
let again = false;

const rowsOf = (root) => [...root.querySelectorAll(".rows > li")];
const touched = () => side.matches(":hover") || side.contains(document.activeElement);
const address = () => {
  const canaries = queue.dataset.canaries ? "&canaries=shown" : "";
  return `${main.dataset.queue}?list=${queue.dataset.list}${canaries}`;
};

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
  watch(shown ?? "");
  for (const row of rowsOf(queue)) {
    const link = row.querySelector(".row");
    const here = row.dataset.id === shown;
    link.classList.toggle("here", here);
    here ? link.setAttribute("aria-current", "true") : link.removeAttribute("aria-current");
  }
}

function news(count) {
  if (queue.dataset.list === "decided") return `${count} more decided`;
  if (queue.dataset.list === "look-over") return `${count} more to look over`;
  return `${count} new request${count === 1 ? "" : "s"}`;
}

function pill(count) {
  const button = queue.querySelector(".new");
  button.hidden = count === 0;
  button.textContent = news(count);
}

const ticks = () => [...queue.querySelectorAll("[name=pick]")];

// How many are chosen, on the button. The bar itself shows and hides without script.
function count() {
  const chosen = ticks().filter((tick) => tick.checked).length;
  many.querySelector("[data-count]").textContent = String(chosen);
}

// A tick stands for one version of one request: what changed since has to be chosen again.
function keepTicks(change) {
  const chosen = new Set(ticks().filter((tick) => tick.checked).map((tick) => tick.value));
  change();
  for (const tick of ticks()) tick.checked = chosen.has(tick.value);
  count();
}

// The whole list as the server has it. Only when nobody points at it, or because somebody asked.
function replace(fresh, focus) {
  const known = new Set(rowsOf(queue).map((row) => row.dataset.id));
  keepTicks(() => queue.replaceChildren(...fresh.childNodes));
  waiting = null;
  mark();
  showTimes(queue);
  settle();
  if (focus) (rowsOf(queue).find((row) => !known.has(row.dataset.id)) ?? rowsOf(queue)[0])?.querySelector(".row")?.focus();
}

function grey(row) {
  row.classList.add("gone");
  const tick = row.querySelector("[name=pick]");
  if (tick) {
    tick.checked = false;
    tick.disabled = true;
    count();
  }
  const left = row.querySelector(".left");
  // One short word in the place of the time, so that the row keeps its size.
  left?.removeAttribute("data-countdown");
  left?.classList.remove("soon");
  if (left) left.textContent = "gone";
}

const differ = (row, fresh) => row.dataset.version !== fresh.dataset.version || row.dataset.claim !== fresh.dataset.claim;

function merge(fresh) {
  numbers(fresh);
  const shown = new Map(rowsOf(queue).map((row) => [row.dataset.id, row]));
  const come = new Map(rowsOf(fresh).map((row) => [row.dataset.id, row]));
  const added = [...come.keys()].filter((id) => !shown.has(id));
  const gone = [...shown.keys()].filter((id) => !come.has(id));
  const other = [...come.keys()].filter((id) => shown.has(id) && differ(shown.get(id), come.get(id)));
  const heard = new Set(waiting ? rowsOf(waiting).map((row) => row.dataset.id) : []);
  const unheard = added.filter((id) => !heard.has(id));
  if (unheard.length) {
    arrivals.textContent = news(unheard.length);
    if (queue.dataset.list === "needs-you") for (const id of unheard) tell(come.get(id).dataset.tool, come.get(id).dataset.risk);
  }
  if (!added.length && !gone.length && !other.length) {
    waiting = null;
    pill(0);
    return;
  }
  waiting = fresh;
  pill(added.length);
  for (const id of gone) grey(shown.get(id));
  tidy();
}

// Once nobody points at the list: rows that left go, rows that changed say so. New rows still wait for their pill, unless
// the list is empty, where nothing could move.
function tidy() {
  if (!waiting || touched()) return;
  const come = new Map(rowsOf(waiting).map((row) => [row.dataset.id, row]));
  const shown = new Set(rowsOf(queue).map((row) => row.dataset.id));
  const added = [...come.keys()].some((id) => !shown.has(id));
  if (!added || shown.size === 0) {
    replace(waiting, false);
    return;
  }
  for (const row of rowsOf(queue)) {
    const fresh = come.get(row.dataset.id);
    if (!fresh) row.remove();
    else if (fresh.dataset.version !== row.dataset.version) row.replaceWith(fresh.cloneNode(true));
    else if (differ(row, fresh)) {
      row.dataset.claim = fresh.dataset.claim;
      row.querySelector(".meta").replaceWith(fresh.querySelector(".meta").cloneNode(true));
    }
  }
  count();
  mark();
  showTimes(queue);
  settle();
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

const said = (thread) => [...thread.querySelectorAll("li > span")].map((line) => line.textContent).join("\n");

// The card: the timeline grows by itself; anything that could matter to an answer waits for the reader's own click.
async function card() {
  const shown = panel.querySelector("[data-request]");
  if (!shown) return;
  const fresh = (await part(`/requests/${encodeURIComponent(shown.dataset.request)}/`))?.querySelector("[data-request]");
  if (!fresh || fresh.dataset.request !== panel.querySelector("[data-request]")?.dataset.request) return;
  const threads = [shown.querySelector("#thread ol"), fresh.querySelector("#thread ol")];
  if (threads[0] && threads[1] && said(threads[0]) !== said(threads[1])) {
    threads[0].replaceChildren(...threads[1].cloneNode(true).childNodes);
    showTimes(threads[0]);
  }
  attention(shown, fresh);
  if (fresh.dataset.version !== shown.dataset.version && shown.querySelector(".state")) {
    follow(shown, fresh);
  } else if (fresh.dataset.version !== shown.dataset.version) {
    shown.querySelector(".changed").hidden = false;
    shown.querySelector(".changed a").href = location.href;
    for (const act of shown.querySelectorAll(".decide [data-act]")) {
      act.setAttribute("aria-disabled", "true");
      act.removeAttribute("href");
    }
  }
}

// Who is on it and who reads it. Left alone while somebody is about to press a button there.
function attention(shown, fresh) {
  const [here, now] = [shown, fresh].map((card) => card.querySelector("[data-attention]"));
  if (!here || here.contains(document.activeElement)) return;
  const words = (part) => part.textContent.replace(/\s+/g, " ");
  if (!now) here.remove();
  else if (here.dataset.said !== words(now)) {
    const copy = now.cloneNode(true);
    copy.dataset.said = words(now); // as the server said it: on the page, times are shown another way
    here.replaceWith(copy);
    showTimes(copy);
  }
}

// What is decided takes no answer any more: how it goes on is shown by itself.
function follow(shown, fresh) {
  const clocks = [shown, fresh].map((card) => card.querySelector("header .left")?.closest(".fact"));
  if (clocks[0]) clocks[1] ? clocks[0].replaceWith(clocks[1]) : clocks[0].remove();
  for (const name of [".state", ".decide"]) shown.querySelector(name)?.replaceWith(fresh.querySelector(name) ?? "");
  shown.dataset.version = fresh.dataset.version;
  showTimes(shown);
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
queue.addEventListener("change", count);
many.addEventListener("reset", () => setTimeout(count, 0));
addEventListener("pageshow", count);
side.addEventListener("pointerleave", () => setTimeout(tidy, 0));
side.addEventListener("focusout", () => setTimeout(tidy, 0));
panel.addEventListener("click", (event) => {
  if (event.target.closest(".changed a")) {
    event.preventDefault();
    open(location.pathname + location.search, false);
  }
});
addEventListener("popstate", () => location.reload());

function choose(row) {
  const tick = row.closest("li").querySelector("[name=pick]");
  if (!tick || tick.disabled) return;
  tick.checked = !tick.checked;
  count();
}

let soon = 0;
mark();
listen({
  changed(events) {
    if (events.every((event) => event.kind === "reading")) {
      card();
      return;
    }
    clearTimeout(soon);
    soon = setTimeout(everything, 60);
  },
  everything,
});
keys({ rows: () => rowsOf(queue).map((row) => row.querySelector(".row")), card: () => panel.querySelector(".card"), choose });
