// What was typed is never lost: it is kept in the tab, and no form leaves before the server answers to it.
"use strict";

const kept = one("#kept");
const words = (name) => kept?.dataset[name] || "";

// Drafts: what is written in a form that is to be sent, for this reader and this page; no password, no code.
const WRITTEN = ":is(textarea, input:not([type]), [type=text], [type=email]):not([autocomplete=one-time-code])";
const KEEPS = `form[method=post] ${WRITTEN}`;
const slot = (field) => {
  const form = field.form.getAttribute("action") || "";
  return `draft ${kept.dataset.who} ${location.pathname} ${form} ${field.name}`;
};
const store = (act) => {
  try {
    return act(sessionStorage);
  } catch {
    return null; // switched off, or full: the page goes on without
  }
};
const forget = (field) => store((drafts) => drafts.removeItem(slot(field)));

on(document, "input", ({ target }) => {
  if (!kept || !target.matches(KEEPS)) return;
  if (target.value === target.defaultValue) forget(target);
  else store((drafts) => drafts.setItem(slot(target), target.value));
});

// A form that was sent natively led here: what was sent with it is kept no more, unless it was refused.
const settle = () => {
  const sent = store((drafts) => JSON.parse(drafts.getItem("sent") || "[]")) || [];
  const [navigation] = performance.getEntriesByType("navigation");
  store((drafts) => drafts.removeItem("sent"));
  if (navigation?.type === "back_forward" || navigation?.responseStatus > 399) return;
  sent.forEach((name) => store((drafts) => drafts.removeItem(name)));
};

if (kept) {
  settle();
  for (const field of all(KEEPS)) {
    const draft = store((drafts) => drafts.getItem(slot(field)));
    if (draft && field.value === field.defaultValue) field.value = draft;
  }
}

// Whether the server is there and one is signed in still; a form gets the token of now.
const reach = async () => {
  try {
    const answer = await fetch(words("here"), { redirect: "manual", signal: AbortSignal.timeout(5e3) });
    if (answer.type === "opaqueredirect") return "out";
    const token = answer.headers.get("X-Form-Token");
    if (answer.ok && token) {
      all("[name=csrfmiddlewaretoken]").forEach((field) => {
        field.value = token;
      });
    }
    return answer.ok ? "here" : "away";
  } catch {
    return "away";
  }
};

// The notes: the server is away, or the session has ended. One a page, over what was typed.
let note;
let waiting;
const clearNote = () => {
  clearTimeout(waiting);
  note?.remove();
  note = undefined;
};

const placeNote = (name, form) => {
  clearNote();
  note = one(`[data-${name}]`, kept.content).cloneNode(true);
  const place = form && one("textarea, .in", form) ? form : one("#main");
  place.prepend(note);
  note.scrollIntoView({ block: "nearest" });
  return note;
};

const tellOut = (form) => {
  if (!kept) return;
  const link = one("a", placeNote("out", form));
  link.search = new URLSearchParams({ next: location.pathname + location.search });
};

const offer = (shown, again) => {
  const button = one("button", shown);
  button.hidden = !again;
  if (again) on(button, "click", again);
};

const EVERY = 5; // seconds between two looks whether the server is back
const tellAway = (form, again) => {
  if (!kept) return;
  const shown = placeNote("away", form);
  one("[data-since]", shown).textContent = new Date().toLocaleTimeString([], { timeStyle: "short" });
  offer(shown, again);
  const count = one("[data-count]", shown);
  let left = EVERY;
  const look = async () => {
    count.textContent = `${left} s`;
    left -= 1;
    if (left >= 0) {
      waiting = setTimeout(look, 1e3);
      return;
    }
    const found = await reach();
    if (note !== shown) return;
    left = EVERY;
    if (found === "away") look();
    else if (found === "out") tellOut(form);
    else offer(placeNote("back", form), again);
  };
  look();
};


// Runs `act` when the server answers and one is signed in; else the page stays and says so. `again` is the whole
// way anew, for whoever sends again.
const sendWhenHere = async (form, act, again) => {
  const found = await reach();
  if (found === "here") {
    clearNote();
    return act();
  }
  if (found === "out") return tellOut(form);
  return tellAway(form, again);
};

on(document, "submit", (event) => {
  const { target, submitter } = event;
  if (event.defaultPrevented || !kept || target.method !== "post") return;
  if (target.dataset.sure) return;
  event.preventDefault();
  const leave = () => {
    const fields = all(WRITTEN, target).map(slot);
    store((drafts) => drafts.setItem("sent", JSON.stringify(fields)));
    if (target.matches("[data-leaves]")) store((drafts) => drafts.clear());
    target.dataset.sure = "1";
    target.requestSubmit(submitter?.form === target ? submitter : undefined);
    delete target.dataset.sure;
  };
  const send = async () => {
    if (target.dataset.asked) return;
    target.dataset.asked = "1";
    await sendWhenHere(target, leave, send).finally(() => {
      delete target.dataset.asked;
    });
  };
  send();
});
