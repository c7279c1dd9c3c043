// Chat pages: asking without a reload, answers that grow, citations, search while typing. Pages work without.
"use strict";
(() => {
  const one = (selector, root = document) => root.querySelector(selector);
  const all = (selector, root = document) => root.querySelectorAll(selector);
  const PIECE = { "X-Piece": "1" };
  const form = one("[data-asks]"), talk = one("[data-talk]"), box = form?.question;

  const made = (html) => {
    const template = document.createElement("template");
    template.innerHTML = html;
    return template.content.firstElementChild;
  };
  const say = (what) => { const said = one("[data-said]"); if (said) said.textContent = said.dataset[what] || ""; };
  const wrong = (text) => { const foot = one("#foot"); foot.textContent = text; foot.hidden = !text; };

  // Whoever reads the end follows it; whoever reads elsewhere stays there.
  const keepEnd = (change) => {
    const root = document.documentElement;
    const atEnd = innerHeight + scrollY >= root.scrollHeight - 60;
    change();
    if (atEnd) scrollTo({ top: root.scrollHeight, behavior: "instant" });
  };
  const busy = (is) => {
    if (!form) return;
    const go = one(".go", form), end = one(".end", form);
    if (end) { go.hidden = is; end.hidden = !is; }
    one(".history [aria-current] + .jack")?.toggleAttribute("hidden", !is);
  };

  // An answer that grows: text as it comes, then the finished piece in its place.
  const showNamed = (article, text) => {
    for (const [, list] of text.matchAll(/\[([\^\d,;\s–-]{1,60})\]/g))
      for (const number of list.match(/\d+/g) || []) {
        const entry = one(`[data-number="${number}"][hidden]`, article);
        if (entry) { entry.hidden = false; one(".sources", article).hidden = false; }
      }
  };
  const grow = (article) => {
    const grown = one("[data-grown]", article);
    const node = grown.firstChild || grown.appendChild(document.createTextNode(""));
    const events = new EventSource(`${article.dataset.grows}?after=${article.dataset.after}`);
    const finish = async (what) => {
      events.close();
      const answer = await fetch(article.dataset.piece, { headers: PIECE });
      if (!answer.ok) return location.reload();
      const piece = made(await answer.text());
      keepEnd(() => article.replaceWith(piece));
      busy(false);
      say(what);
    };
    events.addEventListener("sources", (event) => {
      const list = one("[data-entries]", article);
      list.innerHTML = JSON.parse(event.data);
      for (const entry of list.children) entry.id = `${article.id}-s${entry.dataset.number}`;
      showNamed(article, node.data);
    });
    events.addEventListener("delta", (event) => keepEnd(() => {
      if (!node.data) { const state = one("[data-state]", article); state.textContent = state.dataset.text; say("begun"); }
      const text = JSON.parse(event.data);
      node.appendData(text);
      showNamed(article, node.data.slice(-text.length - 80));
    }));
    events.addEventListener("done", (event) => finish(JSON.parse(event.data).state === "stopped" ? "stopped" : "ended"));
    events.addEventListener("gone", () => finish(""));
    // The browser comes back by itself after a broken line; after a refusal it does not.
    events.onerror = () => { if (events.readyState === EventSource.CLOSED) setTimeout(finish, 2000, ""); };
    busy(true);
  };
  for (const article of all("[data-grows]")) grow(article);

  // Asking: Enter sends, Shift+Enter breaks. In a chat the question appears at once.
  box?.addEventListener("keydown", (event) => {
    if (event.key === "Escape") return one(".end:not([hidden])", form)?.click();
    if (event.key !== "Enter" || event.shiftKey || event.isComposing) return;
    event.preventDefault();
    if (box.value.trim() && !one(".go", form).hidden) form.requestSubmit(one(".go", form));
  });
  if (talk) form?.addEventListener("submit", async (event) => {
    if (event.submitter?.matches(".end")) return;
    event.preventDefault();
    const go = one(".go", form);
    if (go.disabled || !box.value.trim()) return;
    go.disabled = true;
    wrong("");
    try {
      const answer = await fetch(form.action, { method: "POST", body: new FormData(form), headers: PIECE });
      if (answer.redirected) return location.reload();
      const text = await answer.text();
      if (!answer.ok) return wrong(answer.headers.get("content-type").startsWith("text/plain") ? text : answer.statusText);
      const article = made(text);
      talk.append(article);
      box.value = "";
      scrollTo({ top: document.documentElement.scrollHeight, behavior: "instant" });
      grow(article);
    } catch {
      form.submit(); // the browser itself says what is wrong with the line
    } finally {
      go.disabled = false;
    }
  });
  one("[data-stops]")?.addEventListener("submit", (event) => {
    event.preventDefault();
    fetch(event.target.action, { method: "POST", body: new FormData(event.target), headers: PIECE });
    box?.focus();
  });

  // The menus' buttons say what is chosen.
  const label = (button, text) => {
    one("span", button).textContent = text;
    button.setAttribute("aria-label", button.getAttribute("aria-label").replace(/:.*/s, `: ${text}`));
  };
  form?.addEventListener("change", ({ target }) => {
    const words = (input) => (one("bdi", input.parentNode) || input.nextElementSibling).firstChild.textContent.trim();
    if (target.name === "backend") return label(one("[data-backend]"), words(target));
    if (target.type === "checkbox" && target.checked) one("[value=mine]", form).checked = true;
    const ticked = [...all(".within :checked", form)];
    if (!ticked.length) one("[value=none]", form).checked = true;
    const none = one("[value=none]", form);
    label(one("[data-scope]"), none.checked ? words(none) : ticked.map(words).join(", "));
  });

  // Citations: hover, focus or a click chooses the pair, and the cord follows.
  const choose = (mark) => {
    for (const old of all(".exchange [aria-current]")) old.removeAttribute("aria-current");
    mark.setAttribute("aria-current", "true");
    const id = mark.closest(".source")?.id;
    const other = id ? one(`.prose [href="#${id}"]`) : document.getElementById(mark.hash.slice(1))?.firstElementChild;
    other?.setAttribute("aria-current", "true");
    return other;
  };
  for (const kind of ["mouseover", "focusin"]) document.addEventListener(kind, ({ target }) => {
    const mark = target.closest?.(".prose .mark") || target.closest?.(".source")?.firstElementChild;
    if (mark && !mark.hasAttribute("aria-current")) choose(mark);
  });
  document.addEventListener("click", async (event) => {
    const mark = event.target.closest(".prose .mark");
    if (mark) {
      event.preventDefault();
      choose(mark)?.scrollIntoView({ block: "nearest" });
    }
    // Copy: the answer as it was written; the button says so for two seconds.
    const button = event.target.closest("[data-takes]");
    if (button) {
      const answer = await fetch(button.dataset.takes);
      await navigator.clipboard.writeText(await answer.text());
      const span = one("span", button), before = span.textContent;
      span.textContent = button.dataset.done;
      setTimeout(() => { span.textContent = before; }, 2000);
    }
  });

  // Keys that no single element stands for; the rest is in page.js.
  document.addEventListener("keydown", (event) => {
    if (event.target.closest("input, textarea, select") || event.ctrlKey || event.metaKey || event.altKey) return;
    if (event.key === "Escape" && !one(":popover-open")) one(".end:not([hidden])", form || document)?.click();
    if (document.documentElement.dataset.keys === "off") return;
    const last = [...all(".exchange")].at(-1);
    if (/^[1-9]$/.test(event.key)) one(`[data-number="${event.key}"]:not([hidden]) > a:not(.mark)`, last || document)?.click();
    if (event.key === "y") one("[data-takes]", last || document)?.click();
    if (event.key === "j" || event.key === "k") {
      const heads = [...all(".exchange")], top = 90;
      const to = event.key === "j" ? heads.find((each) => each.getBoundingClientRect().top > top)
        : heads.findLast((each) => each.getBoundingClientRect().top < top - 20);
      to?.scrollIntoView();
    }
  });
  // Up in an empty composer: the last question once more.
  box?.addEventListener("keydown", (event) => {
    if (event.key === "ArrowUp" && !box.value) [...all(".question a")].at(-1)?.click();
    if (event.ctrlKey && event.key === "g") { event.preventDefault(); one("[data-scope]").click(); }
  });

  // Search while typing: the list beneath is replaced, and comes back.
  const finds = one("[data-finds]"), found = one("[data-found]"), before = found?.innerHTML;
  let timer;
  finds?.addEventListener("input", () => {
    clearTimeout(timer);
    timer = setTimeout(async () => {
      const query = finds.value.trim();
      if (!query) { found.innerHTML = before; return; }
      const answer = await fetch(`${finds.form.action}?q=${encodeURIComponent(query)}`, { headers: PIECE });
      if (answer.ok && finds.value.trim() === query) found.innerHTML = await answer.text();
    }, 150);
  });
  found?.addEventListener("click", (event) => {
    if (!event.target.closest("[data-clears]")) return;
    event.preventDefault();
    finds.value = "";
    found.innerHTML = before;
    finds.focus();
  });
})();
