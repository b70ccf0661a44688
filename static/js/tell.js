// Notifications of the browser, for whoever asked for them: the tool and its risk, never a target or an agent's words.
const KEPT = "imprimatur.tell";
const button = document.getElementById("notify");

function wanted() {
  return "Notification" in window && Notification.permission === "granted" && localStorage.getItem(KEPT) === "yes";
}

function show() {
  if (!button) return;
  button.hidden = !("Notification" in window) || Notification.permission === "denied";
  button.textContent = wanted() ? "Stop telling me in this browser" : "Tell me in this browser…";
}

export function tell(tool, risk) {
  if (!wanted() || document.visibilityState === "visible") return;
  new Notification("Imprimatur", { body: `${risk.charAt(0)}${risk.slice(1).toLowerCase()}: ${tool}`, tag: "imprimatur" });
}

button?.addEventListener("click", async () => {
  if (wanted()) localStorage.removeItem(KEPT);
  else if ((await Notification.requestPermission()) === "granted") localStorage.setItem(KEPT, "yes");
  show();
});
show();
