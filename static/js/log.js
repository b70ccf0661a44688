// The log by keyboard: j and k move, Enter opens, / searches. Menus of saved views close when you turn elsewhere.
const rows = () => [...document.querySelectorAll(".entries > li")];
const typing = (target) => target instanceof Element && target.closest("input, textarea, select, [contenteditable]") !== null;

function move(step) {
  const all = rows();
  if (!all.length) return;
  const at = all.findIndex((row) => row.contains(document.activeElement));
  const next = at < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, at + step));
  all[next].querySelector("a").focus();
  all[next].scrollIntoView({ block: "nearest" });
}

const does = { j: () => move(1), k: () => move(-1), "/": () => document.querySelector(".filters input")?.focus() };

document.addEventListener("keydown", (event) => {
  const menu = document.querySelector(".views details[open]");
  if (event.key === "Escape" && menu) {
    menu.open = false;
    menu.querySelector("summary").focus();
  }
  if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
  if (typing(event.target) || !(event.key in does)) return;
  event.preventDefault();
  does[event.key]();
});
document.addEventListener("click", (event) => {
  for (const menu of document.querySelectorAll(".views details[open]")) if (!menu.contains(event.target)) menu.open = false;
});
for (const menu of document.querySelectorAll(".views details")) {
  menu.addEventListener("toggle", () => menu.open && menu.querySelector("input[name=name]")?.focus());
}
