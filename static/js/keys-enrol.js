// Enrols a passkey: makes it, then at once lets it sign its own enrolment. Nothing counts before the server has both; a
// key that was made and not enrolled is named, can be tried again, and is taken off the device's list where that is possible.
import { Ended, able, ask, assertion, compare, creation, login, tell, words } from "./ceremony.js";

const form = document.querySelector("form[data-enrol]");
const box = form?.querySelector("[data-sign-problem]");
const status = form?.querySelector("[data-sign-status]");
const steps = [...(form?.querySelectorAll("[data-step]") ?? [])];
const button = form?.querySelector("[data-sign]");
const label = button?.querySelector("[data-label]");
const name = form?.elements.label;
const TWICE = 800; // ms in which a second press is the other half of a double click

let busy = false;
let began = 0;
let prompt = null;
let made = null; // a key that exists on the device and is not enrolled yet: {offer, rp, id, label}

function device() {
  const agent = navigator.userAgent;
  const known = [["iPhone", /iPhone/], ["iPad", /iPad/], ["Android phone", /Android.*Mobile/], ["Android tablet", /Android/], ["Mac", /Macintosh/], ["Windows computer", /Windows/], ["Chromebook", /CrOS/], ["Linux computer", /Linux/]];
  return known.find(([, pattern]) => pattern.test(agent))?.[0] ?? "";
}

function fields(more = {}) {
  const found = new FormData(form);
  for (const [key, value] of Object.entries(more)) found.set(key, value);
  return found;
}

function progress(step, text) {
  steps.forEach((item, at) => {
    item.classList.toggle("done", at < step);
    at === step ? item.setAttribute("aria-current", "step") : item.removeAttribute("aria-current");
  });
  if (status) status.textContent = text;
}

function show(working, cancel = false) {
  busy = working;
  form.setAttribute("aria-busy", String(working));
  name.inert = working;
  label.dataset.was ??= label.textContent;
  label.textContent = cancel ? "Cancel" : working ? "One moment…" : made ? "Sign with the new key" : label.dataset.was;
}

// Tells the device that nobody will ever ask for this key, so that it may drop it from its list.
async function forget() {
  try {
    await window.PublicKeyCredential?.signalUnknownCredential?.({ rpId: made.rp, credentialId: made.id });
  } catch {
    // It stays on the device's list; the words on the page say so.
  }
}

async function enrol() {
  began = performance.now();
  tell(box, "");
  let rp = "";
  try {
    show(true);
    able();
    if (!navigator.onLine) throw new Ended("offline");
    if (!made) {
      name.value = name.value.trim().replace(/\s+/g, " "); // as the statement will say it
      progress(0, "Asking what to make…");
      const offer = await ask(form.dataset.begin, fields());
      rp = String(offer.options?.rp?.id ?? "");
      show(true, true);
      progress(0, "Your device asks you to make a key. Press Cancel to stop.");
      const response = await creation(offer.options, (controller) => (prompt = controller));
      show(true);
      progress(1, "Made. Asking what it is to sign…");
      const id = JSON.parse(response).id;
      made = { offer: null, rp, id, label: name.value };
      made.offer = await ask(form.dataset.created, fields({ ceremony: offer.ceremony, response }));
    }
    rp = made.rp;
    const statement = await compare(made.offer, []);
    if (statement.credential !== made.id || statement.label !== made.label) throw new Ended("tampered", "It is about another key.");
    show(true, true);
    progress(1, "Your device asks once more: the new key signs that it is yours.");
    const response = await assertion(made.offer.options, (controller) => (prompt = controller));
    show(true);
    progress(2, "Signed. Enrolling it…");
    const { next } = await ask(form.dataset.enrolUrl, fields({ ceremony: made.offer.ceremony, response }));
    location.assign(new URL(next, location.origin).pathname + new URL(next, location.origin).search);
  } catch (error) {
    const ended = error instanceof Ended ? error : new Ended("broken", String(error?.message ?? error));
    await failed(ended, rp);
  }
}

async function failed(ended, rp) {
  const halfway = made;
  const again = halfway?.offer && ["no-answer", "cancelled", "late", "offline", "later"].includes(ended.why);
  const ways = [];
  if (ended.why === "signed-out") ways.push({ text: "", href: login(), link: "Sign in again" });
  if (["form-over", "tampered"].includes(ended.why)) ways.push({ text: "", href: location.href, link: "Reload the page" });
  if (halfway && again) ways.push({ text: `The key “${halfway.label}” is made and not enrolled: it signs nothing yet. Press the button to sign with it, or leave the page, and nothing is kept here.` });
  else if (halfway) {
    await forget();
    made = null;
    ways.push({ text: `Nothing was enrolled. A passkey named “${halfway.label}” may still stand in your device’s list: it signs nothing, and you can delete it there. Then try again.` });
  }
  if (["no-webauthn", "insecure", "unsupported", "no-answer"].includes(ended.why) && !halfway) ways.push({ text: "Another device or browser will do, or ", href: form.dataset.ssh, link: "enrol an SSH key" });
  show(false);
  progress(made ? 1 : -1, "");
  const said = ended.why === "no-answer" && !halfway ? "No key was made: the prompt was cancelled, took too long, or this device cannot make one." : words(ended, rp).replace("Nothing was signed", halfway ? "Nothing was enrolled" : "No key was made").replace("nothing was signed", halfway ? "nothing was enrolled" : "no key was made");
  box?.classList.toggle("calm", ended.why === "cancelled");
  tell(box, said, ways);
}

if (form) {
  if (name.dataset.guess !== undefined && device()) name.value = device();
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    if (!busy) enrol();
    else if (performance.now() - began > TWICE) prompt?.abort(new Ended("cancelled"));
  });
}
