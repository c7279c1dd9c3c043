// Chat pages, which work without; `one`, `all`, `on` and `get` stand in page.js.
"use strict";
const last = () => all(".exchange").at(-1);
const form = one("[data-asks]"), box = form?.question, go = one(".go", form), end = one(".end", form);
const said = one("[data-said]"), say = (text) => { said.textContent = text || ""; };
const send = (to) => get(to.action, { method: "POST", body: new FormData(to) });
const busy = (is) => { go.hidden = is; end.hidden = !is; };

// Whoever reads the end follows it; whoever reads elsewhere stays there.
const keepEnd = (change, atEnd = innerHeight + scrollY > root.scrollHeight - 60) => {
  change();
  if (atEnd) scrollTo(0, root.scrollHeight);
};

// An answer that grows: its place in line, text as it comes, then the finished piece in its place.
const grow = (article) => {
  const { grows, after, piece } = article.dataset, events = new EventSource(`${grows}?after=${after}`);
  const [line, grown, state, entries] = ["line", "grown", "state", "entries"].map((name) => one(`[data-${name}]`, article));
  const hear = (kind, act) => on(events, kind, ({ data }) => keepEnd(() => act(JSON.parse(data))));
  const finish = async (how) => {
    events.close();
    const answer = await get(piece).catch(() => 0);
    if (!(answer.status < 500)) return setTimeout(finish, 1e3, how); // the server comes back
    if (!answer.ok || answer.redirected) return location.reload();
    const html = await answer.text();
    keepEnd(() => { article.outerHTML = html; });
    const whole = one(`#${article.id}`);
    if (whole.dataset.grows) return setTimeout(grow, 2e3, whole);
    one(".history [aria-current] + .jack")?.remove();
    busy(false);
    say(said.dataset[how]);
  };
  hear("place", ([html, changed]) => {
    line.innerHTML = html;
    if (changed) say(changed);
  });
  hear("sources", (html) => { entries.innerHTML = html; });
  hear("delta", (html) => {
    if (!grown.firstChild) { state.textContent = state.dataset.text; say(said.dataset.begun); }
    line.innerHTML = "";
    grown.insertAdjacentHTML("beforeend", html);
    for (const { hash } of all(".mark", grown)) one(hash).hidden = one(".sources", article).hidden = false;
  });
  hear("done", finish);
  hear("gone", finish);
  // After a broken line the browser comes back by itself, after a refusal not.
  on(events, "error", () => events.readyState === 2 && finish());
  on(one("#again"), "submit", () => events.close()); // whoever leaves asks no more
  busy(true);
};
all("[data-grows]").forEach(grow);

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
  const inText = event.target.closest(".prose .mark"), entry = inText ? one(inText.hash) : event.target.closest(".source");
  if (!entry) return;
  if (event.type === "click" && inText) {
    event.preventDefault();
    entry.scrollIntoView({ block: "nearest" });
  }
  all(".mark[aria-current]").forEach((old) => old.removeAttribute("aria-current"));
  for (const mark of [inText || one(`.prose [href="#${entry.id}"]`), one(".mark", entry)]) if (mark) mark.ariaCurrent = "true";
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
