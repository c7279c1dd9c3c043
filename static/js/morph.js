// Puts new HTML in the place of old, node by node: what is the same stays, and with it selection, focus and scrolling.
"use strict";

const fragment = (html) => {
  const template = document.createElement("template");
  template.innerHTML = html;
  return template.content;
};

// Two nodes of one kind and name; then the old one is kept and mended.
const keyOf = (node) => `${node.nodeName} ${node.id || ""} ${node.classList?.[0] || ""}`;

const mendText = (old, fresh) => {
  if (fresh.data.startsWith(old.data)) old.appendData(fresh.data.slice(old.length));
  else old.data = fresh.data;
};

const mendElement = (old, fresh) => {
  for (const { name } of [...old.attributes]) {
    if (!fresh.hasAttribute(name) && name !== "aria-current") old.removeAttribute(name);
  }
  for (const { name, value } of fresh.attributes) {
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  mendNodes(old, [...old.childNodes], [...fresh.childNodes]);
};

const mendNodes = (parent, olds, freshes) => {
  const end = olds.at(-1)?.nextSibling || null;
  for (const fresh of freshes) {
    const at = olds.findIndex((old) => keyOf(old) === keyOf(fresh));
    if (at < 0) {
      parent.insertBefore(fresh, olds[0] || end);
      continue;
    }
    olds.splice(0, at).forEach((gone) => gone.remove());
    const old = olds.shift();
    if (old.isEqualNode(fresh)) continue;
    if (old.data === undefined) mendElement(old, fresh);
    else mendText(old, fresh);
  }
  olds.forEach((gone) => gone.remove());
};

// A selection is put back by its place in the text; blanks do not count, for a list's items may become paragraphs.
const countBefore = (box, node, offset) => {
  const range = document.createRange();
  range.setStart(box, 0);
  range.setEnd(node, offset);
  return range.toString().replace(/\s/g, "").length;
};

// Before or behind the letter of that number.
const letterAt = (box, number, behind) => {
  const walker = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
  let left = number;
  while (walker.nextNode()) {
    const node = walker.currentNode;
    for (const { index } of node.data.matchAll(/\S/g)) {
      left -= 1;
      if (!left) return [node, index + behind];
    }
  }
  return [box, box.childNodes.length];
};

const keepSelection = (box, change) => {
  const selection = getSelection();
  if (selection.isCollapsed || !selection.rangeCount) return change();
  const { startContainer, startOffset, endContainer, endOffset } = selection.getRangeAt(0);
  if (!box.contains(startContainer) || !box.contains(endContainer)) return change();
  const text = selection.toString();
  const isBackward = selection.anchorNode === endContainer && selection.anchorOffset === endOffset;
  const start = countBefore(box, startContainer, startOffset) + 1;
  const end = countBefore(box, endContainer, endOffset);
  change();
  if (selection.toString() === text) return undefined;
  const places = [letterAt(box, start, 0), letterAt(box, end, 1)];
  if (isBackward) places.reverse();
  return selection.setBaseAndExtent(...places[0], ...places[1]);
};

const FOCUSABLE = "a, button, input, textarea, [tabindex]";
const keepFocus = (box, change) => {
  const active = document.activeElement;
  const index = all(FOCUSABLE, box).indexOf(active);
  change();
  if (index < 0 || active.isConnected) return;
  all(FOCUSABLE, box)[index]?.focus({ preventScroll: true });
};

// `olds` are nodes of `parent` that stand beside one another.
const morph = (parent, olds, freshes) => {
  keepFocus(parent, () => keepSelection(parent, () => mendNodes(parent, olds, freshes)));
};
