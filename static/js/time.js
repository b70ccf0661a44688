// Times in the reader's own zone and words: <time datetime="…" data-show="clock|date|ago">.
const clock = new Intl.DateTimeFormat(undefined, { hour: "2-digit", minute: "2-digit", second: "2-digit" });
const date = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "short" });

function ago(then) {
  const seconds = Math.max(0, Math.round((Date.now() - then) / 1000));
  if (seconds < 60) return `${seconds} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}

export function showTimes(root = document) {
  for (const element of root.querySelectorAll("time[datetime][data-show]")) {
    const then = new Date(element.dateTime);
    element.title = element.dateTime;
    element.textContent =
      element.dataset.show === "clock" ? clock.format(then) : element.dataset.show === "ago" ? ago(then) : date.format(then);
  }
}

showTimes();
setInterval(showTimes, 10_000);
document.addEventListener("htmx:afterSwap", () => showTimes());
