// A sheet: it stops taking answers the moment its request changes, and a confirmation must be typed by hand.
import { listen, part } from "./live.js";

const sheet = document.querySelector(".sheet[data-request]");
const button = sheet?.querySelector("form button");
const typed = sheet?.querySelector("input[data-exactly]");
let changed = false;

function judge() {
  if (button) button.disabled = changed || (typed !== null && typed !== undefined && typed.value !== typed.dataset.exactly);
}

async function look() {
  if (!sheet || changed) return;
  const fresh = (await part(sheet.dataset.page))?.querySelector("[data-request]");
  if (!fresh || fresh.dataset.version === sheet.dataset.version) return;
  changed = true;
  const notice = sheet.querySelector(".changed");
  notice.hidden = false;
  notice.querySelector("a").href = sheet.dataset.page;
  judge();
}

typed?.addEventListener("input", judge);
for (const kind of ["paste", "drop"]) typed?.addEventListener(kind, (event) => event.preventDefault());
sheet?.querySelector("form")?.addEventListener("submit", () => setTimeout(() => button && (button.disabled = true), 0));
addEventListener("pageshow", judge);
judge();
listen({
  changed(events) {
    if (events.some((event) => event.id === sheet?.dataset.request || event.id === "")) look();
  },
  everything: look,
});
