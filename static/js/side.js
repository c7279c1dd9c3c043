// The side bar: search while typing, and the signs of answers that are under way.
"use strict";

// The list beneath is replaced by what was found, and comes back.
const finds = one("[data-finds]");
const found = one("[data-found]");
const listed = found?.innerHTML;
one("[aria-current]", found)?.scrollIntoView({ block: "nearest" });
let typing;
on(finds, "input", () => {
  clearTimeout(typing);
  typing = setTimeout(async () => {
    const query = finds.value.trim();
    const answer = query ? await get(`${finds.form.action}?q=${encodeURIComponent(query)}`).catch(() => 0) : null;
    if (finds.value.trim() !== query || answer === 0) return;
    if (answer?.redirected) tellOut();
    else if (!answer || answer.ok) found.innerHTML = answer ? await answer.text() : listed;
  }, 150);
});

// A jack turns as long as its chat is being answered, on every page.
const LOOK = 3e3; // milliseconds
const running = () => all(".history li:has(> .jack.busy)", found);
const lookAgain = async () => {
  if (document.hidden || !running().length) return;
  const answer = await get(found.dataset.found).catch(() => 0);
  if (!answer.ok || answer.redirected) return;
  const { chats } = await answer.json();
  for (const row of running()) {
    if (!chats.some((chat) => one("a", row).pathname.includes(chat))) one(".jack", row).remove();
  }
};
if (found) {
  setInterval(lookAgain, LOOK);
  on(document, "visibilitychange", lookAgain);
}
