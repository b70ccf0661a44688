// The page that checks: files come in, verdicts stand below. Nothing is sent; the page's own policy forbids it.
import { missing } from "./check-crypto.js";
import { bytes, Malformed } from "./check-formats.js";
import { check, INVALID, overall, recognise, UNKNOWN, VALID } from "./check-steps.js";

const MOST = 2_000_000; // bytes of a file: a receipt with a hundred votes is far smaller
const WORDS = { [VALID]: "Verified", [INVALID]: "Not verified", [UNKNOWN]: "Cannot tell" };
const [cannot, checker, drop, files, pasted, list, result] = ["cannot", "checker", "drop", "files", "pasted", "pieces", "result"].map((id) => document.getElementById(id));
const pieces = new Map(); // kind to { value, says, name }
let problems = [];
let round = 0;

// Text of others: nothing in it may hide, turn around or break the line.
const inert = (text) => text.replace(/[\p{C}\u2800\u3164\uFFA0\u115F\u1160]|(?! )\p{Z}/gu, (found) => `⟦U+${found.codePointAt(0).toString(16).toUpperCase().padStart(4, "0")}⟧`);

function make(name, text = "", style = "") {
  const element = document.createElement(name);
  if (text) element.textContent = inert(text);
  if (style) element.className = style;
  return element;
}

async function take(name, raw) {
  try {
    if (raw.length > MOST) throw new Malformed("This is too large to be one of those.");
    const found = await recognise(raw);
    pieces.set(found.kind, { ...found, name });
    // A proof or an entry of before belongs to what was checked before.
    if (found.kind === "receipt") pieces.delete("entry");
    if (found.kind === "entry") pieces.delete("receipt");
  } catch (error) {
    if (!(error instanceof Malformed)) throw error;
    problems.push(`${name}: ${error.message}`);
  }
}

async function takeFiles(chosen) {
  problems = [];
  for (const file of chosen) await take(file.name, file.size > MOST ? new Uint8Array(MOST + 1) : new Uint8Array(await file.arrayBuffer()));
  await show();
}

function showPieces() {
  list.replaceChildren();
  for (const [kind, piece] of pieces) {
    const line = make("li");
    const words = make("span", `${piece.says} · ${piece.name}`);
    const remove = make("button", "Remove");
    remove.type = "button";
    remove.setAttribute("aria-label", `Remove ${piece.says}`);
    remove.addEventListener("click", () => {
      pieces.delete(kind);
      problems = [];
      show();
    });
    line.append(words, remove);
    list.append(line);
  }
  for (const problem of problems) list.append(make("li", problem, "odd"));
}

function headline(verdict, steps) {
  const subject = pieces.has("receipt") ? "This receipt" : pieces.has("entry") ? "This entry" : "This proof";
  if (verdict === VALID) return `${subject} is verified.`;
  if (verdict === INVALID) return `${subject} is not verified. Do not rely on it.`;
  if (!pieces.has("trust")) return "Nothing can be told without your trust.json.";
  const open = steps.filter((step) => step.verdict === UNKNOWN).length;
  return `${subject}: nothing is wrong, and ${open} of ${steps.length} steps cannot be told.`;
}

async function show() {
  const mine = ++round;
  showPieces();
  const steps = await check(Object.fromEntries([...pieces].map(([kind, piece]) => [kind, piece.value])));
  if (mine !== round) return; // something else was added meanwhile
  result.replaceChildren();
  result.removeAttribute("data-verdict");
  result.dataset.round = String(mine);
  if (!steps.length) return;
  const verdict = overall(steps);
  const section = make("section", "", "steps-of");
  section.append(make("p", headline(verdict, steps), `outcome${verdict === INVALID ? " odd" : ""}`));
  const opened = pieces.get("receipt")?.value.decision ?? pieces.get("entry")?.value;
  if (opened) section.append(told(opened.entry));
  const claims = make("ol", "", "claims");
  for (const { name, verdict: one, says } of steps) {
    const line = make("li", "", one);
    const badge = make("div", "", "verdict");
    badge.append(make("b", WORDS[one]));
    const words = make("div");
    words.append(make("h2", name), make("p", says));
    line.append(badge, words);
    claims.append(line);
  }
  section.append(claims);
  result.append(section);
  result.dataset.verdict = verdict;
}

// What the entry says, from its own bytes: true only as far as the steps below hold.
function told(entry) {
  const lines = make("dl", "", "lines");
  const { body } = entry;
  const bound = body?.binding;
  const rows = [
    ["Entry", `${entry.index}, ${entry.kind}`],
    ["Time", entry.time],
    ["About", entry.subject],
    ["Verdict", body?.verdict && `${body.verdict}${body.code ? ` (${body.code})` : ""}, ${body.state}`],
    ["Risk", body?.risk],
    ["Agent", bound?.agent],
    ["Tool", bound?.tool?.name],
    ["Effects", Array.isArray(bound?.effects) && bound.effects.map((effect) => `${effect.action} ${effect.resource}`).join("; ")],
    ["Valid until", body?.not_after],
  ];
  for (const [name, value] of rows) {
    if (typeof value === "string" && value) lines.append(make("dt", name), make("dd", value));
  }
  return lines;
}

const lacking = await missing();
if (lacking) {
  cannot.append(make("h2", "This browser cannot check it"), make("p", lacking));
  cannot.hidden = false;
} else {
  checker.hidden = false;
  files.addEventListener("change", async () => {
    await takeFiles([...files.files]);
    files.value = "";
  });
  for (const name of ["dragenter", "dragover", "dragleave", "drop"]) {
    addEventListener(name, (event) => {
      event.preventDefault();
      drop.classList.toggle("over", name === "dragenter" || name === "dragover");
      if (name === "drop") takeFiles([...event.dataTransfer.files]);
    });
  }
  document.getElementById("add").addEventListener("click", async () => {
    problems = [];
    const written = pasted.value.startsWith("c2sp.org/") ? `${pasted.value.trimEnd()}\n` : pasted.value.trim();
    if (!written) return;
    await take("pasted text", bytes(written));
    if (!problems.length) pasted.value = "";
    await show();
  });
}
document.documentElement.dataset.ready = "yes";
