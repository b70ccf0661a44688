// Times in the reader's own zone and words: <time datetime="…" data-show="clock|date|ago">, and what is left until
// <time datetime="…" data-countdown data-over="over, denied">, measured on the server's clock and not on this machine's.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });
const SOON = 120;

const served = Date.parse(document.body?.dataset.now ?? "");
const offset = Number.isNaN(served) ? 0 : served - Date.now();

export function now() {
  return Date.now() + offset;
}

function ago(then) {
  const seconds = Math.max(0, Math.round((now() - then) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

function left(seconds) {
  const rest = String(seconds % 60).padStart(2, "0");
  const minutes = Math.floor(seconds / 60);
  return minutes < 60 ? `${minutes}:${rest}` : `${Math.floor(minutes / 60)}:${String(minutes % 60).padStart(2, "0")}:${rest}`;
}

function set(element, text) {
  if (element.textContent !== text) element.textContent = text;
}

export function countDown(root = document) {
  for (const element of root.querySelectorAll("time[data-countdown]")) {
    const seconds = Math.ceil((Date.parse(element.dateTime) - now()) / 1000);
    if (Number.isNaN(seconds)) continue;
    element.classList.toggle("soon", seconds <= SOON);
    set(element, seconds > 0 ? left(seconds) : element.dataset.over || "over");
  }
}

export function showTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime][data-show]")) {
    const then = new Date(element.dateTime);
    if (Number.isNaN(then.getTime())) continue;
    element.title = element.dateTime;
    set(element, element.dataset.show === "clock" ? clock.format(then) : element.dataset.show === "ago" ? ago(then) : date.format(then));
  }
  countDown(root);
}

showTimes();
setInterval(() => countDown(), 1000);
setInterval(() => showTimes(), 10_000);
document.addEventListener("htmx:afterSwap", () => showTimes());
