// Chat pages, which work without. The helpers stand in page.js, `grow` in stream.js, drafts and notes in keep.js.
"use strict";

const said = one("[data-said]");
const say = (text) => {
  said.textContent = text || "";
};
const last = () => all(".exchange").at(-1);
const form = one("[data-asks]");
const box = form?.question;
const go = one(".go", form);
const end = one(".end", form);
const send = (to) => get(to.action, { method: "POST", body: new FormData(to) });
const busy = (is) => {
  go.hidden = is;
  end.hidden = !is;
};

all("[data-grows]").forEach((article) => grow(article));

// A chat opens at its end, unless a place in it was asked for; the way there is shown to who reads elsewhere.
const [opening] = performance.getEntriesByType("navigation");
if (said && opening?.type === "navigate" && !location.hash && !location.search.includes("edit=")) {
  scrollTo(0, root.scrollHeight);
}
const toEnd = one("[data-toend]");
if (toEnd) {
  toEnd.hidden = true;
  const watch = new IntersectionObserver(([{ isIntersecting }]) => {
    toEnd.hidden = isIntersecting;
  });
  watch.observe(one("#end"));
  on(toEnd, "click", (event) => {
    event.preventDefault();
    scrollTo(0, root.scrollHeight);
    box.focus({ preventScroll: true });
  });
}

// Asking: in a chat the question appears at once.
const refuse = (text) => {
  const foot = one("#foot");
  foot.textContent = text;
  foot.hidden = !text;
};

// Whether the server took a question whose answer was lost on the way.
const wasTaken = async (question) => {
  const answer = await get(location.pathname, { headers: {} });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const newest = all(".exchange", page).at(-1);
  return newest && newest.id !== last()?.id && one("h2", newest).textContent.trim() === question.trim();
};

let isUnsure = false;
const ask = async () => {
  refuse("");
  const question = box.value;
  if (isUnsure && (await wasTaken(question))) {
    forget(box);
    return location.reload();
  }
  isUnsure = true;
  const answer = await send(form);
  const text = await answer.text();
  isUnsure = answer.status > 499;
  if (answer.redirected) return tellOut(form);
  if (isUnsure) return tellAway(form, askAgain);
  if (!answer.ok) return refuse(text[0] === "<" ? answer.status : text);
  if (box.value === question) box.value = "";
  forget(box);
  keepEnd(() => one("[data-talk]").insertAdjacentHTML("beforeend", text), true);
  return grow(last());
};

const askAgain = async () => {
  if (go.disabled) return;
  go.disabled = true;
  try {
    await sendWhenHere(form, ask, askAgain);
  } catch {
    tellAway(form, askAgain);
  }
  go.disabled = false;
};

if (said) {
  on(form, "submit", (event) => {
    event.preventDefault();
    askAgain();
  });
}

on(one("[data-stops]"), "submit", (event) => {
  event.preventDefault();
  const stop = () => sendWhenHere(form, () => send(event.target), stop).catch(() => tellAway(form, stop));
  stop();
  box.focus();
});

// The menus' buttons say what is chosen.
const firstLine = (input) => input.labels[0].innerText.split("\n")[0];
const label = (menu, text) => {
  one(`[popovertarget=${menu}] bdi`).textContent = text;
};
on(form, "change", ({ target }) => {
  if (target.name === "backend") return label(target.name, firstLine(target));
  const none = one("[value=none]");
  const ticked = all(".within :checked");
  if (target.type === "checkbox") (ticked[0] ? one("[value=mine]") : none).checked = true;
  return label("scope", none.checked || !ticked[0] ? firstLine(none) : ticked.map(firstLine).join(", "));
});

const showEntry = (entry) => {
  const list = entry.closest(".sources");
  const gap = entry.getBoundingClientRect().top - list.getBoundingClientRect().top;
  if (gap < 0 || gap + entry.offsetHeight > list.clientHeight) list.scrollTop += gap - 8;
};

// Citations: hover, focus or a click chooses the pair; the cord follows.
on(document, "mouseover focusin click", (event) => {
  const inText = event.target.closest(".prose .mark");
  const entry = inText ? one(inText.hash) : event.target.closest(".source");
  if (!entry) return;
  // Beside the text the passage comes into sight by itself; beneath it the link leads there, and Back leads back.
  const isBeside = getComputedStyle(entry.closest(".sources")).position === "sticky";
  if (event.type === "click" && inText && isBeside) event.preventDefault();
  if (inText && isBeside) showEntry(entry);
  // Back would else lead to the place that the address names, not to where one was.
  const leads = event.type === "click" && inText && !isBeside;
  if (leads) history.replaceState(null, "", location.pathname + location.search);
  all(".mark[aria-current]").forEach((old) => old.removeAttribute("aria-current"));
  const pair = [inText || one(`.prose [href="#${entry.id}"]`), one(".mark", entry)];
  for (const mark of pair) {
    if (mark) mark.ariaCurrent = "true";
  }
});

// Enter asks, Shift+Enter breaks, Esc stops, Up edits the last question, Ctrl+G chooses sources.
on(box, "keydown", (event) => {
  const { key } = event;
  if (composes(event)) return;
  const enters = key === "Enter" && !event.shiftKey;
  const chooses = event.ctrlKey && key === "g";
  if (enters || chooses) event.preventDefault();
  if (enters && box.value.trim() && !go.hidden) form.requestSubmit(go);
  if (chooses) one("[popovertarget=scope]").click();
  if (key === "ArrowUp" && !box.value) one(".question a", last())?.click();
});
on(document, "keydown", (event) => {
  if (event.key !== "Escape" || composes(event)) return;
  if (end && !end.hidden && !one(":popover-open")) end.click();
});
