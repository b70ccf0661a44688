// Signs a form with a passkey: <form data-ceremony="address">. A button with data-sign starts it (without one, every button
// does); one with data-click sends the form as it is. While the prompt is open a second press cancels. `data-page`,
// `data-deny` and `data-terminal` on the form are the ways on that a problem offers.
import { Ended, able, ask, assertion, compare, login, tell, words } from "./ceremony.js";

const TWICE = 800; // ms in which a second press is the other half of a double click
const KEPT = "imprimatur.key";

function setUp(form) {
  const sheet = form.closest(".sheet") ?? form;
  const box = sheet.querySelector("[data-sign-problem]");
  const status = sheet.querySelector("[data-sign-status]");
  const chooser = form.querySelector("select[data-remember]");
  const controls = [...form.elements].filter((element) => element.tagName !== "BUTTON" && element.type !== "hidden");
  let state = "idle"; // asking, waiting, sent
  let began = 0;
  let prompt = null;
  let gone = null; // why nothing can be sent any more

  const kept = localStorage.getItem(KEPT);
  if (chooser && [...chooser.options].some((option) => option.value === kept)) chooser.value = kept;

  function show(next, button, text) {
    state = next;
    const busy = next === "asking" || next === "waiting";
    form.setAttribute("aria-busy", String(busy));
    for (const control of controls) control.inert = busy || next === "sent";
    for (const other of form.querySelectorAll("button")) {
      if (other !== button) other.setAttribute("aria-disabled", String(next !== "idle"));
    }
    const label = button?.querySelector("[data-label]") ?? button;
    if (label) {
      label.dataset.was ??= label.textContent;
      label.textContent = next === "waiting" ? "Cancel" : next === "idle" ? label.dataset.was : "One moment…";
    }
    if (status) status.textContent = text;
  }

  function ways(why) {
    const { page, deny, terminal } = form.dataset;
    const found = [];
    if (why === "signed-out") return [{ text: "", href: login(), link: "Sign in again" }];
    if (why === "form-over" || why === "tampered") return [{ text: "", href: location.href, link: "Reload the page" }];
    if (why === "changed") return page ? [{ text: "", href: page, link: "Read how it stands now" }] : [];
    if (["cancelled", "frozen", "offline", "later", "refused"].includes(why)) return [];
    if (why !== "address" && why !== "insecure") found.push({ text: "Try again, or open this page on the device that holds your key." });
    if (terminal) found.push({ text: "Or sign in a terminal: ", code: terminal });
    if (deny) found.push({ text: "Or ", href: deny, link: "deny, which needs no key" });
    return found;
  }

  async function sign(button) {
    began = performance.now();
    tell(box, "");
    show("asking", button, "Asking for what is to be signed…");
    let rp = "";
    try {
      able();
      if (!navigator.onLine) throw new Ended("offline");
      const offer = await ask(form.dataset.ceremony, new FormData(form));
      rp = String(offer.options?.rpId ?? "");
      await compare(offer, sheet.querySelectorAll("[data-says]"));
      if (gone) throw new Ended("changed", gone);
      show("waiting", button, "Waiting for your passkey. Press Cancel to stop.");
      const response = await assertion(offer.options, (controller) => (prompt = controller));
      if (gone) throw new Ended("changed", gone);
      if (chooser) localStorage.setItem(KEPT, chooser.value);
      form.elements.ceremony.value = offer.ceremony;
      form.elements.response.value = response;
      show("sent", button, "Signed. Sending it…");
      button?.setAttribute("aria-disabled", "true");
      HTMLFormElement.prototype.submit.call(form);
    } catch (error) {
      const ended = error instanceof Ended ? error : new Ended("broken", String(error?.message ?? error));
      show("idle", button, "");
      box?.classList.toggle("calm", ended.why === "cancelled");
      tell(box, words(ended, rp), ways(ended.why));
    }
  }

  form.addEventListener("submit", (event) => {
    const button = event.submitter;
    const plain = button?.hasAttribute("data-click") || (form.querySelector("[data-sign]") && !button?.hasAttribute("data-sign"));
    if (state === "idle" && plain && !gone) {
      state = "sent"; // a click sends once
      return;
    }
    event.preventDefault();
    if (gone || state === "sent") return;
    if (state === "idle") sign(button);
    else if (state === "waiting" && !plain && performance.now() - began > TWICE) prompt?.abort(new Ended("cancelled"));
  });
  // The sheet says when what it shows is no longer true.
  form.addEventListener("imprimatur:gone", (event) => {
    gone = event.detail;
    prompt?.abort(new Ended("changed", gone));
  });
  addEventListener("pageshow", (event) => {
    if (!event.persisted) return;
    for (const name of ["ceremony", "response"]) form.elements[name].value = "";
    show("idle", form.querySelector("[data-sign]"), "");
  });
}

for (const form of document.querySelectorAll("form[data-ceremony]")) setUp(form);
