// What HTML cannot do, one behaviour each, found by a data- attribute or a class. Pages work without.
"use strict";
const root = document.documentElement;
const one = (selector, within = root) => within?.querySelector(selector);
const all = (selector, within = root) => [...within.querySelectorAll(selector)];
const on = (target, kinds, act) => kinds.split(" ").forEach((kind) => target?.addEventListener(kind, act));
const get = (url, options) => fetch(url, { headers: { "X-Piece": "1" }, ...options });

// Copy: what an address holds, or the code beside the button, which says Copied for two seconds.
on(document, "click", async ({ target }) => {
  const button = target.closest("[data-copy]"), { takes, copy } = button?.dataset || {};
  if (!button) return;
  const text = takes ? await (await get(takes)).text() : one("pre", button.closest(".code")).innerText.trimEnd();
  await navigator.clipboard.writeText(text);
  const use = one("use", button), span = one("span", button), before = [use.href.baseVal, button.ariaLabel];
  const show = (icon, label) => {
    use.href.baseVal = icon;
    if (span) [before[1], span.textContent] = [span.textContent, label];
    else button.ariaLabel = label;
  };
  show(before[0].replace(/#.*/, "#done"), copy || "Copied");
  setTimeout(() => show(...before), 2000);
});

// Single keys: links and buttons name theirs in data-key, the last one wins; never in a field or with a modifier.
let led = "";
on(document, "keydown", (event) => {
  const { target, ctrlKey, metaKey, altKey } = event, pressed = event.key.toLowerCase();
  if (root.dataset.keys === "off" || ctrlKey || metaKey || altKey || target.closest("input, textarea, select")) return;
  const found = all(`[data-key="${CSS.escape(led + pressed)}"]`).at(-1);
  const top = (each) => each.getBoundingClientRect().top - 90;
  led = pressed === "g" && !led ? "g " : "";
  if (pressed === "j") all(".exchange").find((each) => top(each) > 0)?.scrollIntoView();
  if (pressed === "k") all(".exchange").findLast((each) => top(each) < -20)?.scrollIntoView();
  if (!found) return;
  event.preventDefault();
  if (found.matches("input, textarea")) found.focus();
  else found.click();
});

// Drop zones: the look while files are above, and the form is sent once files are chosen.
for (const zone of all(".drop")) {
  on(zone, "dragenter dragover dragleave drop", ({ type }) => zone.classList.toggle("over", type.endsWith("r")));
  on(one("[type=file]", zone), "change", () => zone.requestSubmit());
}
