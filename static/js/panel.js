// The panel is fetched anew every few seconds: what somebody opened in it stays open.
const named = (details) => details.querySelector("summary")?.textContent;
document.addEventListener("htmx:beforeSwap", (event) => {
  if (event.detail.target?.id !== "integrity") return;
  const open = new Set([...document.querySelectorAll("#integrity details[open]")].map(named));
  if (!open.size) return;
  document.addEventListener("htmx:afterSettle", () => {
    for (const details of document.querySelectorAll("#integrity details")) if (open.has(named(details))) details.open = true;
  }, { once: true });
});
