// A sheet: it stops taking answers the moment its request changes, and a confirmation must be typed by hand.
import { listen, part, watch } from "./live.js";
import { showTimes } from "./time.js";

const sheet = document.querySelector(".sheet[data-request]");
const form = sheet?.querySelector("form");
const buttons = [...(form?.querySelectorAll("button") ?? [])];
const typed = sheet?.querySelector("input[data-exactly]");
let changed = false;

function judge() {
  const stopped = changed || (typed && typed.value !== typed.dataset.exactly);
  for (const button of buttons) button.disabled = Boolean(stopped);
}

// Somebody else said that they are on it: worth knowing, and no reason to stop.
function claimed(fresh) {
  const here = sheet.querySelector(".claimed");
  if (!here) return;
  const words = fresh.querySelector("[data-claim]");
  here.hidden = !words;
  here.firstElementChild.replaceChildren(...(words ? [words.cloneNode(true)] : []));
  showTimes(here);
}

async function look() {
  if (!sheet || changed) return;
  const fresh = (await part(sheet.dataset.page))?.querySelector("[data-request]");
  if (!fresh) return;
  claimed(fresh);
  if (fresh.dataset.version === sheet.dataset.version) return;
  changed = true;
  const notice = sheet.querySelector(".changed");
  notice.hidden = false;
  notice.querySelector("a").href = sheet.dataset.page;
  // A prompt that is open closes: what it would sign is no longer what stands there.
  form?.dispatchEvent(new CustomEvent("imprimatur:gone", { detail: "This request changed while you were signing. Nothing was signed." }));
  judge();
}

typed?.addEventListener("input", judge);
for (const kind of ["paste", "drop"]) typed?.addEventListener(kind, (event) => event.preventDefault());
// Enter sends nothing: answering is a press of its own.
typed?.addEventListener("keydown", (event) => event.key === "Enter" && event.preventDefault());
if (!form?.dataset.ceremony) form?.addEventListener("submit", () => setTimeout(() => buttons.forEach((button) => (button.disabled = true)), 0));
addEventListener("pageshow", judge);
judge();
listen({
  changed(events) {
    if (events.some((event) => event.id === sheet?.dataset.request || event.id === "")) look();
  },
  everything: look,
});
watch(sheet?.dataset.request ?? "");
