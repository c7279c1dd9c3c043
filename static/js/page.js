// What HTML cannot do, one behaviour each, found by a data- attribute or a class. Pages work without.
"use strict";

const root = document.documentElement;
const one = (selector, within = root) => within?.querySelector(selector);
const all = (selector, within = root) => [...within.querySelectorAll(selector)];
const on = (target, kinds, act) => kinds.split(" ").forEach((kind) => target?.addEventListener(kind, act));
const get = (url, options) => fetch(url, { headers: { "X-Piece": "1" }, ...options });
// A key that an input method takes is not for us; Safari tells of it only by its code.
const composes = (event) => event.isComposing || event.keyCode === 229;

// Copy: without a secure context the old way, and where that is refused too, the text is selected.
const copyOld = (text) => {
  const field = document.createElement("textarea");
  const before = document.activeElement;
  field.value = text;
  field.className = "sr";
  document.body.append(field);
  field.select();
  const isDone = document.execCommand("copy");
  field.remove();
  before?.focus({ preventScroll: true });
  return isDone;
};

const copied = async (text) => {
  try {
    await navigator.clipboard.writeText(text);
    return true;
  } catch {
    return copyOld(text);
  }
};

const selectFor = (button, text) => {
  const code = one("pre", button.closest(".code"));
  if (code) return getSelection().selectAllChildren(code);
  const row = button.closest(".row") || button;
  const field = one("textarea.copy", row.parentNode) || document.createElement("textarea");
  field.className = "in copy";
  field.readOnly = true;
  field.rows = 6;
  field.value = text;
  row.after(field);
  field.focus();
  return field.select();
};

const showOn = (button, icon, label) => {
  const use = one("use", button);
  const span = one("span", button);
  const before = [use.href.baseVal, span ? span.textContent : button.ariaLabel];
  use.href.baseVal = icon ? before[0].replace(/#.*/, icon) : before[0];
  if (span) span.textContent = label;
  else button.ariaLabel = label;
  return before;
};

on(document, "click", async ({ target }) => {
  const button = target.closest("[data-copy]");
  if (!button || button.dataset.busy) return;
  button.dataset.busy = "1";
  const { takes, copy } = button.dataset;
  try {
    const text = takes ? await (await get(takes)).text() : one("pre", button.closest(".code")).innerText.trimEnd();
    const isDone = await copied(text);
    if (!isDone) selectFor(button, text);
    const [icon, label] = showOn(button, isDone && "#done", isDone ? copy || "Copied" : words("select"));
    setTimeout(() => showOn(button, icon, label), isDone ? 2e3 : 8e3);
  } catch {
    tellAway();
  }
  delete button.dataset.busy;
});

// Single keys: links and buttons name theirs in data-key, the last one wins; never in a field or with a modifier.
let led = "";
on(document, "keydown", (event) => {
  const { target, ctrlKey, metaKey, altKey } = event;
  const pressed = event.key.toLowerCase();
  if (root.dataset.keys === "off" || composes(event) || ctrlKey || metaKey || altKey) return;
  if (target.closest("input, textarea, select")) return;
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

// A file that is dropped beside every zone is not opened in the page's place; one on a zone's button counts.
on(document, "dragover drop", (event) => {
  const { target, dataTransfer, type } = event;
  if (!dataTransfer?.types.includes("Files") || target.closest?.("[type=file]")) return;
  event.preventDefault();
  const zone = target.closest?.(".drop");
  if (!zone) dataTransfer.dropEffect = "none";
  if (!zone || type !== "drop") return;
  one("[type=file]", zone).files = dataTransfer.files;
  zone.requestSubmit();
});
