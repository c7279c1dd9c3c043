// An answer that is written while one looks on: its place in line, its blocks, then the finished piece in its place.
// `form`, `say` and `busy` stand in chat.js.
"use strict";

// Whoever reads the end follows it; whoever reads elsewhere stays there.
const atEnd = () => innerHeight + scrollY > root.scrollHeight - 60;
const keepEnd = (change, follows = atEnd()) => {
  change();
  if (follows) scrollTo(0, root.scrollHeight);
};

// Everything before this comment is closed: it was rendered for good.
const OPEN = "open";
const isMark = (node) => node.nodeType === Node.COMMENT_NODE && node.data === OPEN;

const drawText = (grown, { closed, open }) => {
  const nodes = [...grown.childNodes];
  const at = nodes.findIndex(isMark);
  nodes[at]?.remove();
  morph(grown, nodes.slice(at + 1), [...fragment(`${closed}<!--${OPEN}-->${open}`).childNodes]);
};

// Passages stand in the margin from the moment they are cited.
const showCited = (article) => {
  for (const { hash } of all("[data-grown] .mark", article)) {
    const entry = one(`[id="${CSS.escape(hash.slice(1))}"]`, article);
    if (entry) entry.hidden = one(".sources", article).hidden = false;
  }
};

const grow = (article) => {
  const { grows, after, piece } = article.dataset;
  const part = (name) => one(`[data-${name}]`, article);
  const events = new EventSource(`${grows}?after=${after}`);
  const hear = (kind, act) => on(events, kind, ({ data }) => keepEnd(() => act(JSON.parse(data))));
  const state = part("state");
  const before = state.textContent;
  const begin = () => {
    if (state.textContent === state.dataset.text) return;
    state.textContent = state.dataset.text;
    say(said.dataset.begun);
  };
  const finish = async (how) => {
    events.close();
    const answer = await get(piece).catch(() => 0);
    if (!(answer.status < 500)) {
      state.textContent = state.dataset.away;
      return setTimeout(finish, 1e3, how); // the server comes back
    }
    if (answer.redirected) {
      state.textContent = state.dataset.left;
      return tellOut(form);
    }
    if (!answer.ok) return location.reload();
    const html = await answer.text();
    keepEnd(() => morph(article.parentNode, [article], [...fragment(html).children]));
    if (article.dataset.grows) return setTimeout(grow, 2e3, article);
    one(".history [aria-current] + .jack")?.remove();
    busy(false);
    return say(said.dataset[how]);
  };
  hear("place", ([html, changed]) => {
    part("line").innerHTML = html;
    state.textContent = before;
    if (changed) say(changed);
  });
  hear("sources", (html) => {
    const entries = part("entries");
    morph(entries, [...entries.childNodes], [...fragment(html).childNodes]);
    showCited(article);
  });
  hear("text", (text) => {
    begin();
    part("line").replaceChildren();
    drawText(part("grown"), text);
    showCited(article);
  });
  on(events, "open", () => {
    if (state.textContent === state.dataset.away) state.textContent = state.dataset.back;
  });
  hear("done", finish);
  hear("gone", finish);
  on(events, "error", () => {
    // After a broken line the browser comes back by itself, after a refusal not.
    if (events.readyState === EventSource.CLOSED) finish();
    else state.textContent = state.dataset.away;
  });
  // Whoever leaves asks no more; while the server is away the page stays, and with it the stream.
  on(one("#again"), "submit", ({ target }) => {
    if (!kept || target.dataset.sure) events.close();
  });
  busy(true);
};
