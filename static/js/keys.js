// Keys move and open. None of them ever sends an answer, and none counts while you type or just after something changed.
const CALM = 500; // ms
let changed = performance.now();

export function settle() {
  changed = performance.now();
}

function typing(target) {
  return target instanceof Element && target.closest("input:not([type=checkbox]), textarea, select, [contenteditable]") !== null;
}

export function keys({ rows, card, choose }) {
  const sheet = document.getElementById("keys");
  let word = "";

  // The row that has the focus, itself or through its tick.
  const at = (all) => all.indexOf(document.activeElement?.closest("li")?.querySelector(".row"));

  function move(step) {
    const all = rows();
    if (!all.length) return;
    let from = at(all);
    if (from < 0) from = all.findIndex((row) => row.classList.contains("here"));
    const next = from < 0 ? (step > 0 ? 0 : all.length - 1) : Math.min(all.length - 1, Math.max(0, from + step));
    all[next].focus();
    all[next].scrollIntoView({ block: "nearest" });
  }

  function find() {
    const asked = prompt("Find in this list", word);
    if (!asked) return;
    word = asked;
    const all = rows();
    const from = at(all) + 1;
    const found = [...all.slice(from), ...all.slice(0, from)].find((row) => row.textContent.toLowerCase().includes(word.toLowerCase()));
    found?.focus();
    settle();
  }

  function pick() {
    const all = rows();
    const row = all[at(all)] ?? all.find((one) => one.classList.contains("here"));
    if (row) choose?.(row);
  }

  function act(name) {
    const link = card()?.querySelector(`.decide [data-act="${name}"][href]`);
    if (link) location.assign(link.href);
  }

  const does = { j: () => move(1), k: () => move(-1), a: () => act("approve"), d: () => act("deny"), x: pick, "/": find, "?": () => sheet?.showModal() };

  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.repeat || event.isComposing) return;
    if (typing(event.target) || sheet?.open || !(event.key in does)) return;
    event.preventDefault();
    if (performance.now() - changed < CALM) return;
    does[event.key]();
  });
}
