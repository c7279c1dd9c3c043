// Chat pages, which work without. `one`, `all`, `on` and `get` stand in page.js, `grow` in stream.js.
"use strict";
const said = one("[data-said]");
const say = (text) => {
  said.textContent = text || "";
};
const last = () => all(".exchange").at(-1);
const form = one("[data-asks]"), box = form?.question, go = one(".go", form), end = one(".end", form);
const send = (to) => get(to.action, { method: "POST", body: new FormData(to) });
const busy = (is) => { go.hidden = is; end.hidden = !is; };

all("[data-grows]").forEach((article) => grow(article));

// Asking: in a chat the question appears at once.
if (said) on(form, "submit", async (event) => {
  event.preventDefault();
  if (go.disabled) return;
  go.disabled = true;
  const foot = one("#foot");
  foot.hidden = true;
  try {
    const answer = await send(form), text = await answer.text();
    if (answer.redirected) location.reload();
    else if (!answer.ok) {
      foot.textContent = answer.status > 499 || text[0] === "<" ? answer.status : text;
      foot.hidden = false;
    } else {
      box.value = "";
      keepEnd(() => one("[data-talk]").insertAdjacentHTML("beforeend", text), true);
      grow(last());
    }
  } catch { form.submit(); } // the browser says what is wrong
  go.disabled = false;
});
on(one("[data-stops]"), "submit", (event) => {
  event.preventDefault();
  send(event.target);
  box.focus();
});

// The menus' buttons say what is chosen.
on(form, "change", ({ target }) => {
  const words = (input) => input.labels[0].innerText.split("\n")[0];
  const label = (menu, text) => { one(`[popovertarget=${menu}] bdi`).textContent = text; };
  if (target.name === "backend") return label(target.name, words(target));
  const none = one("[value=none]"), ticked = all(".within :checked");
  if (target.type === "checkbox") (ticked[0] ? one("[value=mine]") : none).checked = true;
  label("scope", none.checked || !ticked[0] ? words(none) : ticked.map(words).join(", "));
});

// Citations: hover, focus or a click chooses the pair; the cord follows.
on(document, "mouseover focusin click", (event) => {
  const inText = event.target.closest(".prose .mark");
  const entry = inText ? one(inText.hash) : event.target.closest(".source");
  if (!entry) return;
  if (event.type === "click" && inText) {
    event.preventDefault();
    entry.scrollIntoView({ block: "nearest" });
  }
  all(".mark[aria-current]").forEach((old) => old.removeAttribute("aria-current"));
  const pair = [inText || one(`.prose [href="#${entry.id}"]`), one(".mark", entry)];
  for (const mark of pair) {
    if (mark) mark.ariaCurrent = "true";
  }
});

// Enter asks, Shift+Enter breaks, Esc stops, Up edits the last question, Ctrl+G chooses sources.
on(box, "keydown", (event) => {
  const { key } = event, enters = key === "Enter" && !event.shiftKey && !event.isComposing;
  const chooses = event.ctrlKey && key === "g";
  if (enters || chooses) event.preventDefault();
  if (enters && box.value.trim() && !go.hidden) form.requestSubmit(go);
  if (chooses) one("[popovertarget=scope]").click();
  if (key === "ArrowUp" && !box.value) one(".question a", last())?.click();
});
on(document, "keydown", ({ key }) => {
  if (key === "Escape" && end && !end.hidden && !one(":popover-open")) end.click();
});

// Search while typing: the list beneath is replaced, and comes back.
const finds = one("[data-finds]"), found = one("[data-found]"), listed = found?.innerHTML;
let timer;
on(finds, "input", () => {
  clearTimeout(timer);
  timer = setTimeout(async () => {
    const query = finds.value.trim();
    const text = query ? await (await get(`${finds.form.action}?q=${encodeURIComponent(query)}`)).text() : listed;
    if (finds.value.trim() === query) found.innerHTML = text;
  }, 150);
});
