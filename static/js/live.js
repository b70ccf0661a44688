// The line to the server: htmx keeps a socket open, we hear which ids changed and fetch them through the same checks as
// any page. When the socket is away we ask every few seconds instead, and say so when nothing answers at all.
const QUIET = 50_000; // three missed beats of the server: the line is dead, whatever the socket believes
const ASK_EVERY = 4_000;
const TELL_EVERY = 10_000; // a third of the time for which the server remembers who reads what
const NOT_SIGNED_IN = 4401;
const RECONNECTED_BY_HTMX = new Set([1006, 1011, 1012, 1013]);

const banner = document.getElementById("line");
let holder = document.getElementById("socket");
let open = false;
let heard = performance.now();
let over = false;
let failed = -1; // when an answer last failed to come; only what was asked after that proves that we are back
let wrapper = null;
let watching = ""; // the request that this page shows
let listener = { changed() {}, everything: async () => {} };

export function say(text, link) {
  if (!banner) return;
  if (text) {
    banner.textContent = text;
    if (link) {
      const anchor = document.createElement("a");
      anchor.href = link.href;
      anchor.textContent = link.text;
      banner.append(" ", anchor);
    }
  }
  banner.hidden = !text;
}

function signedOut() {
  over = true;
  const here = encodeURIComponent(location.pathname + location.search);
  say("You are signed out, or your role is gone. What you see is old.", { href: `/accounts/login/?next=${here}`, text: "Sign in" });
  holder?.remove();
}

// One part of a page, or null when there is none to be had. Never throws.
export async function part(address) {
  const asked = performance.now();
  try {
    const answer = await fetch(address, { headers: { "HX-Request": "true" }, credentials: "same-origin", redirect: "manual" });
    if (answer.status === 401 || answer.status === 403 || answer.type === "opaqueredirect") {
      signedOut();
      return null;
    }
    if (!answer.ok) throw new Error(String(answer.status));
    const html = await answer.text();
    if (!over && asked > failed) {
      failed = -1;
      say("");
    }
    return new DOMParser().parseFromString(html, "text/html").body;
  } catch {
    failed = performance.now();
    const at = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" }).format(new Date());
    if (!over && banner?.hidden !== false) say(`Offline since ${at}. What you see may be old, and nothing can be sent. Silence still denies.`);
    return null;
  }
}

export function listen(who) {
  listener = who;
}

// Which request this page shows: an id and nothing else. A page that nobody looks at shows none.
export function watch(id) {
  if (id === watching) return;
  watching = id;
  tellWatching();
}

function tellWatching() {
  if (open && wrapper) wrapper.send(JSON.stringify({ watching: document.visibilityState === "visible" ? watching : "" }), null);
}

function renew() {
  if (over || !holder?.isConnected) return;
  const fresh = holder.cloneNode(false);
  holder.replaceWith(fresh);
  holder = fresh;
  attach();
  window.htmx?.process(fresh);
}

function attach() {
  if (!holder) return;
  holder.addEventListener("htmx:wsOpen", (event) => {
    wrapper = event.detail.socketWrapper;
    open = true;
    heard = performance.now();
    // Whatever happened while the line was down: the list knows, and versions decide what is new.
    listener.everything();
    if (watching) tellWatching();
  });
  holder.addEventListener("htmx:wsClose", (event) => {
    open = false;
    const code = event.detail.event?.code;
    if (code === NOT_SIGNED_IN) signedOut();
    else if (!RECONNECTED_BY_HTMX.has(code)) setTimeout(renew, 1000 + Math.random() * 2000);
  });
  holder.addEventListener("htmx:wsBeforeMessage", (event) => {
    event.preventDefault(); // it is not HTML, and nothing in it is shown
    heard = performance.now();
    try {
      const { changed } = JSON.parse(event.detail.message);
      if (Array.isArray(changed) && changed.length) listener.changed(changed);
    } catch {
      listener.everything();
    }
  });
}

attach();
setInterval(() => {
  if (over) return;
  if (open && performance.now() - heard > QUIET) {
    open = false;
    wrapper?.reconnect();
  }
  if ((!open || failed >= 0) && document.visibilityState === "visible") listener.everything();
}, ASK_EVERY);
setInterval(() => watching && document.visibilityState === "visible" && tellWatching(), TELL_EVERY);
document.addEventListener("visibilitychange", () => watching && tellWatching());
addEventListener("online", () => listener.everything());
addEventListener("offline", () => part(location.pathname));
document.addEventListener("visibilitychange", () => document.visibilityState === "visible" && listener.everything());
