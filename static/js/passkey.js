// What went wrong with a passkey, in words and with a way on. allauth's own script does the ceremony.
const words = {
  NotAllowedError: "Nothing was confirmed: it was cancelled, took too long, or there is no passkey for this desk here. Try again, or use another way.",
  InvalidStateError: "This device or key is registered for you already.",
  SecurityError: "Passkeys work only over https, or on localhost. Open the desk at its own address.",
  TypeError: "This browser offers no passkeys at this address. They need https, or localhost.",
};
const problem = document.getElementById("passkey-problem");

document.addEventListener("allauth.error", (event) => {
  event.preventDefault();
  problem.textContent = words[event.detail.exception?.name] ?? "That did not work. Nothing was changed; try again.";
  problem.hidden = false;
});
document.addEventListener(
  "click",
  (event) => {
    if (event.target.closest("button")) problem.hidden = true;
  },
  true,
);
