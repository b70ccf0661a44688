// The panel is fetched anew every few seconds: what somebody opened in it stays open.
document.addEventListener("htmx:beforeSwap", (event) => {
  const open = document.querySelector("#integrity details")?.open;
  if (!open || event.detail.target?.id !== "integrity") return;
  document.addEventListener("htmx:afterSettle", () => {
    const details = document.querySelector("#integrity details");
    if (details) details.open = true;
  }, { once: true });
});
