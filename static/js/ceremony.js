// One ceremony: ask the server what is to be signed, see that it is what this page shows, and let a key sign exactly that.
// It catches mistakes and meddling on the way. It cannot catch a server that lies in both places at once: whoever fears
// that signs in a terminal, where the card is made by a program of their own.
const LONGEST = 60_000; // ms that a prompt may stand open

// What ends a ceremony. `why` picks the words and the next step; `detail` is what the server said.
export class Ended extends Error {
  constructor(why, detail = "") {
    super(detail || why);
    this.why = why;
    this.detail = detail;
  }
}

// Sends fields and returns the JSON of the answer. Every other answer ends the ceremony.
export async function ask(address, fields) {
  let answer;
  try {
    answer = await fetch(address, { method: "POST", body: fields, credentials: "same-origin", redirect: "manual", headers: { Accept: "application/json" } });
  } catch {
    throw new Ended("offline");
  }
  if (answer.type === "opaqueredirect" || answer.status === 401) throw new Ended("signed-out");
  let said = null;
  try {
    said = await answer.json();
  } catch {
    throw new Ended(answer.status === 403 ? "form-over" : "broken", `The server answered ${answer.status}.`);
  }
  if (answer.ok) return said;
  const detail = typeof said?.detail === "string" ? said.detail : `The server answered ${answer.status}.`;
  if (answer.status === 409) throw new Ended("changed", detail);
  if (answer.status === 503) throw new Ended("frozen", detail);
  if (answer.status === 429) throw new Ended("later", detail);
  throw new Ended("refused", detail);
}

function bytes(base64url) {
  const text = atob(base64url.replaceAll("-", "+").replaceAll("_", "/"));
  return Uint8Array.from(text, (character) => character.charCodeAt(0));
}

// Whether this browser can sign here at all; if not, why.
export function able() {
  if (!window.isSecureContext || !crypto.subtle) throw new Ended("insecure");
  if (!window.PublicKeyCredential?.parseRequestOptionsFromJSON || !navigator.credentials) throw new Ended("no-webauthn");
}

// What the statement says under a name with dots, as text; of names with colons between them, each in turn.
function field(statement, name) {
  if (name.includes(":")) return name.split(":").map((part) => field(statement, part)).join(":");
  const found = name.split(".").reduce((inside, part) => (inside && Object.hasOwn(inside, part) ? inside[part] : undefined), statement);
  return typeof found === "object" && found !== null ? JSON.stringify(found) : found === undefined ? undefined : String(found);
}

// The six bytes that a person compares: as under the card, in the log and in the bundle.
function fingerprint(digest) {
  return digest?.match(/^sha256:([0-9a-f]{4})([0-9a-f]{4})([0-9a-f]{4})/)?.slice(1).join("·");
}

// What the page shows in a place that has to agree with the statement.
function written(element, statement) {
  if (element.type === "checkbox") return element.checked ? "true" : undefined;
  if (element.tagName === "TEXTAREA") return element.value.trim();
  // A time without a zone is in UTC; left open it is now, and the statement says when that was.
  if (element.dataset.saysAs === "time") return element.value ? new Date(`${element.value}Z`).toISOString() : statement.issued_at;
  return "value" in element ? element.value : element.textContent.trim();
}

// Raises Ended unless the challenge is made of the statement, and the statement says what the page shows.
export async function compare(offer, shown) {
  let statement, challenge;
  try {
    statement = JSON.parse(offer.statement);
    challenge = bytes(offer.options.challenge);
  } catch {
    throw new Ended("tampered", "What came is no statement.");
  }
  if (statement.typ !== offer.typ) throw new Ended("tampered", "It is a statement of another kind.");
  const made = new Uint8Array(await crypto.subtle.digest("SHA-256", new TextEncoder().encode(`${offer.typ}\0${offer.statement}`)));
  if (made.length !== challenge.length || made.some((byte, at) => byte !== challenge[at])) {
    throw new Ended("tampered", "The challenge does not belong to the statement.");
  }
  for (const element of shown) {
    const name = element.dataset.says;
    const here = written(element, statement);
    const whole = name === "*"; // the statement itself, byte for byte
    const there = whole ? offer.statement : element.dataset.saysAs === "fingerprint" ? fingerprint(field(statement, name)) : field(statement, name);
    if (here !== there) throw new Ended("tampered", `The page and the statement differ${whole ? "" : ` in “${name}”`}.`);
  }
  if (offer.options.userVerification !== "required") throw new Ended("tampered", "It asks for a key without asking who holds it.");
  return statement;
}

// One call to the authenticator that ends within a minute. `stop` is called with the AbortController first.
async function within(stop, call) {
  const controller = new AbortController();
  stop(controller);
  const clock = setTimeout(() => controller.abort(new Ended("late")), LONGEST);
  // Some browsers leave the call hanging when it is aborted; the page goes on all the same.
  const aborted = new Promise((_, reject) => controller.signal.addEventListener("abort", () => reject(controller.signal.reason)));
  try {
    const found = await Promise.race([call(controller.signal), aborted]);
    if (!found) throw new Ended("no-answer");
    return JSON.stringify(found.toJSON());
  } catch (error) {
    if (controller.signal.aborted) throw controller.signal.reason instanceof Ended ? controller.signal.reason : new Ended("cancelled");
    if (error instanceof Ended) throw error;
    const why = { NotAllowedError: "no-answer", AbortError: "cancelled", SecurityError: "address", InvalidStateError: "known", NotSupportedError: "unsupported", ConstraintError: "unsupported" };
    throw new Ended(why[error?.name] ?? "broken", String(error?.message ?? error));
  } finally {
    clearTimeout(clock);
    stop(null);
  }
}

export function assertion(options, stop) {
  return within(stop, (signal) => navigator.credentials.get({ publicKey: PublicKeyCredential.parseRequestOptionsFromJSON(options), signal }));
}

export function creation(options, stop) {
  return within(stop, (signal) => navigator.credentials.create({ publicKey: PublicKeyCredential.parseCreationOptionsFromJSON(options), signal }));
}

// The words for every ending. What comes after them, the next step, is the page's.
export function words(ended, rp = "") {
  const { why, detail } = ended;
  const home = rp && rp !== location.hostname ? rp : rp === "localhost" || location.hostname === "127.0.0.1" ? "localhost" : "";
  return (
    {
      offline: "You are offline, so nothing was signed. Try again once the line is back.",
      "signed-out": "You are signed out, so nothing was signed.",
      "form-over": "This form is too old, or the browser did not send its cookie. Nothing was signed.",
      changed: detail,
      frozen: `${detail} Nothing was decided; silence still denies.`,
      refused: detail,
      later: detail,
      insecure: "This address is not a safe one to sign on (it needs https, or localhost). Nothing was signed.",
      "no-webauthn": "This browser cannot sign with a passkey, or is too old to. Nothing was signed.",
      tampered: `What came to be signed is not what this page shows, so this page refused to have it signed. ${detail} Nothing was signed. Reload the page; if it happens again, tell an operator.`,
      cancelled: "Cancelled. Nothing was signed.",
      late: "Nobody answered the passkey prompt within a minute. Nothing was signed.",
      "no-answer": "Nothing was signed: the prompt was cancelled, took too long, or the key is not on this device.",
      address: `Passkeys do not work at this address (${location.host}). Nothing was signed.${home ? ` Open this page at ${home} instead.` : " Open this page at the address your installation is set up for."}`,
      known: "This device already holds a key of yours here. Use that one, or another device.",
      unsupported: "This device cannot make or use such a key: it has to check that it is you, by PIN, finger or face.",
    }[why] ?? `Something went wrong, and nothing was signed. ${detail}`
  );
}

// Writes the problem where the page keeps room for it, and the ways on below it.
export function tell(box, text, ways = []) {
  if (!box) return;
  box.replaceChildren();
  box.hidden = !text;
  if (!text) return;
  const said = document.createElement("p");
  said.textContent = text;
  box.append(said);
  if (ways.length) {
    const list = document.createElement("ul");
    for (const { text: before, href, link, code } of ways) {
      const item = document.createElement("li");
      item.append(before);
      if (href) {
        const anchor = document.createElement("a");
        anchor.href = href;
        anchor.textContent = link;
        item.append(anchor);
      }
      if (code) {
        const command = document.createElement("code");
        command.textContent = code;
        item.append(command);
      }
      list.append(item);
    }
    box.append(list);
  }
  box.scrollIntoView({ block: "nearest" });
}

export const login = () => `/accounts/login/?next=${encodeURIComponent(location.pathname + location.search)}`;
