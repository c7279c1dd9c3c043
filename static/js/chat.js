// Chat pages: asking without a reload, answers that grow, citations, search while typing. All work without.
"use strict";
(() => {
  const root = document.documentElement;
  const one = (selector, within = root) => within?.querySelector(selector);
  const all = (selector, within = root) => [...within.querySelectorAll(selector)];
  const on = (target, kinds, act) => kinds.split(" ").forEach((kind) => target?.addEventListener(kind, act));
  const get = (url, options) => fetch(url, { headers: { "X-Piece": "1" }, ...options });
  const send = (to) => get(to.action, { method: "POST", body: new FormData(to) });
  const toEnd = () => scrollTo({ top: root.scrollHeight, behavior: "instant" });
  const last = () => all(".exchange").at(-1);
  const form = one("[data-asks]"), box = form?.question, go = one(".go", form), end = one(".end", form);
  const talk = one("[data-talk]"), said = one("[data-said]")?.dataset;
  const say = (what) => { one("[data-said]").textContent = said[what] || ""; };
  const made = (html) => document.createRange().createContextualFragment(html).firstElementChild;
  const busy = (is) => { go.hidden = is; end.hidden = !is; };

  // Whoever reads the end follows it; whoever reads elsewhere stays there.
  const keepEnd = (change) => {
    const atEnd = innerHeight + scrollY > root.scrollHeight - 60;
    change();
    if (atEnd) toEnd();
  };

  // An answer that grows: text as it comes, then the finished piece in its place.
  const grow = (article) => {
    const { grows, after, piece } = article.dataset, events = new EventSource(`${grows}?after=${after}`);
    const grown = one("[data-grown]", article), node = grown.firstChild || grown.appendChild(new Text());
    const showNamed = (text) => {
      for (const list of text.match(/\[[\^\d,;\s–-]{1,60}\]/g) || []) for (const number of list.match(/\d+/g) || []) {
        const entry = one(`[data-number="${number}"]`, article);
        if (entry) entry.hidden = one(".sources", article).hidden = false;
      }
    };
    const finish = async (what) => {
      events.close();
      const answer = await get(piece);
      if (!answer.ok || answer.redirected) return location.reload();
      const whole = made(await answer.text());
      keepEnd(() => article.replaceWith(whole));
      if (whole.dataset.grows) return setTimeout(grow, 2000, whole);
      one(".history [aria-current] + .jack")?.remove();
      busy(false);
      say(what);
    };
    on(events, "sources", ({ data }) => {
      one("[data-entries]", article).innerHTML = JSON.parse(data);
      showNamed(node.data);
    });
    on(events, "delta", ({ data }) => keepEnd(() => {
      const state = one("[data-state]", article), text = JSON.parse(data);
      if (!node.data) { state.textContent = state.dataset.text; say("begun"); }
      node.appendData(text);
      showNamed(node.data.slice(-text.length - 80));
    }));
    on(events, "done", ({ data }) => finish(JSON.parse(data).state));
    on(events, "gone", finish);
    // After a broken line the browser comes back by itself, after a refusal it does not.
    on(events, "error", () => events.readyState === 2 && finish());
    busy(true);
  };
  all("[data-grows]").forEach(grow);

  // Asking: in a chat the question appears at once.
  const wrong = (text) => { const foot = one("#foot"); foot.textContent = text; foot.hidden = !text; };
  if (talk) on(form, "submit", async (event) => {
    event.preventDefault();
    if (go.disabled) return;
    go.disabled = true;
    wrong("");
    try {
      const answer = await send(form), text = await answer.text();
      if (answer.redirected) location.reload();
      else if (!answer.ok) wrong(answer.status < 500 && !text.startsWith("<") ? text : answer.status);
      else {
        talk.append(made(text));
        box.value = "";
        toEnd();
        grow(last());
      }
    } catch { form.submit(); } // the browser itself says what is wrong with the line
    go.disabled = false;
  });
  on(one("[data-stops]"), "submit", (event) => {
    event.preventDefault();
    send(event.target);
    box.focus();
  });

  // The menus' buttons say what is chosen.
  on(form, "change", ({ target }) => {
    const words = (input) => (one("bdi", input.parentNode) || input.nextElementSibling).firstChild.textContent.trim();
    const label = (button, text) => {
      one("span", button).textContent = text;
      button.ariaLabel = button.ariaLabel.replace(/:.*/s, `: ${text}`);
    };
    if (target.name === "backend") return label(one("[data-backend]"), words(target));
    const none = one("[value=none]", form), ticked = all(".within :checked", form);
    if (target.type === "checkbox") (ticked[0] ? one("[value=mine]", form) : none).checked = true;
    label(one("[data-scope]"), none.checked || !ticked[0] ? words(none) : ticked.map(words).join(", "));
  });

  // Citations: hover, focus or a click chooses the pair; the cord follows by itself.
  on(document, "mouseover focusin click", (event) => {
    const inText = event.target.closest(".prose .mark"), card = event.target.closest(".source");
    const entry = card || (inText && one(inText.hash));
    if (!entry) return;
    if (event.type === "click" && inText) {
      event.preventDefault();
      entry.scrollIntoView({ block: "nearest" });
    }
    all(".exchange [aria-current]").forEach((old) => old.removeAttribute("aria-current"));
    for (const mark of [inText || one(`.prose [href="#${entry.id}"]`), one(".mark", entry)]) if (mark) mark.ariaCurrent = "true";
  });
  on(document, "click", async ({ target }) => {
    const button = target.closest("[data-takes]"), span = one("span", button), before = span?.textContent;
    if (!button) return;
    await navigator.clipboard.writeText(await (await get(button.dataset.takes)).text());
    span.textContent = button.dataset.done;
    setTimeout(() => { span.textContent = before; }, 2000);
  });

  // Keys: Enter asks, Shift+Enter breaks, Esc stops, Up edits the last question; single keys outside of fields.
  on(box, "keydown", (event) => {
    const { key } = event, isEnter = key === "Enter" && !event.shiftKey && !event.isComposing;
    if (isEnter || (event.ctrlKey && key === "g")) event.preventDefault();
    if (isEnter && box.value.trim() && !go.hidden) form.requestSubmit(go);
    if (event.ctrlKey && key === "g") one("[data-scope]").click();
    if (key === "ArrowUp" && !box.value) one(".question a", last())?.click();
  });
  on(document, "keydown", ({ key, target, ctrlKey, metaKey, altKey }) => {
    if (key === "Escape" && end && !end.hidden && !one(":popover-open")) end.click();
    if (root.dataset.keys === "off" || target.closest("input, textarea, select") || ctrlKey || metaKey || altKey) return;
    const top = (each) => each.getBoundingClientRect().top - 90;
    if (/^[1-9]$/.test(key)) one(`[data-number="${key}"] > :nth-child(2)`, last())?.click();
    if (key === "y") one("[data-takes]", last())?.click();
    if (key === "j") all(".exchange").find((each) => top(each) > 0)?.scrollIntoView();
    if (key === "k") all(".exchange").findLast((each) => top(each) < -20)?.scrollIntoView();
  });

  // Search while typing: the list beneath is replaced, and comes back.
  const finds = one("[data-finds]"), found = one("[data-found]"), before = found?.innerHTML;
  let timer;
  on(finds, "input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const query = finds.value.trim();
      const text = query ? await (await get(`${finds.form.action}?q=${encodeURIComponent(query)}`)).text() : before;
      if (finds.value.trim() === query) found.innerHTML = text;
    }, 150);
  });
})();
