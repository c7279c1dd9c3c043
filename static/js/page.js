// What HTML cannot do, one behaviour each, found by a data- attribute or a class. Pages work without.
"use strict";

// Copy: the text of the code beside the button; the button says Copied for two seconds.
document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(button.closest(".code").querySelector("pre").innerText.trimEnd());
  const label = button.getAttribute("aria-label");
  const use = button.querySelector("use");
  const before = use.getAttribute("href");
  use.setAttribute("href", before.replace(/#.*/, "#done"));
  button.setAttribute("aria-label", button.dataset.copy || "Copied");
  setTimeout(() => {
    use.setAttribute("href", before);
    if (label) button.setAttribute("aria-label", label);
    else button.removeAttribute("aria-label");
  }, 2000);
});

// Single keys: links and buttons name theirs in data-key; never in a field, never with a modifier.
const keysOn = document.documentElement.dataset.keys !== "off";
let led = "";
document.addEventListener("keydown", (event) => {
  if (!keysOn || event.ctrlKey || event.metaKey || event.altKey || event.isComposing) return;
  if (event.target.closest("input, textarea, select, [contenteditable]")) return;
  const key = led + event.key.toLowerCase();
  led = event.key.toLowerCase() === "g" && !led ? "g " : "";
  const found = document.querySelector(`[data-key="${CSS.escape(key)}"]`);
  if (!found) return;
  event.preventDefault();
  if (found.matches("input, textarea")) found.focus();
  else found.click();
});

// Drop zones: the look while files are above, and the form is sent once files are chosen.
for (const zone of document.querySelectorAll(".drop")) {
  for (const name of ["dragenter", "dragover"]) zone.addEventListener(name, () => zone.classList.add("over"));
  for (const name of ["dragleave", "drop"]) zone.addEventListener(name, () => zone.classList.remove("over"));
  zone.querySelector("input[type=file]")?.addEventListener("change", () => zone.requestSubmit());
}
