// Django's search fields for a person are named: select2 leaves the box that one types into without a name.
"use strict";
const nameBoxes = () => {
  for (const box of document.querySelectorAll(".select2-selection[role=combobox]")) {
    const field = box.closest(".select2").previousElementSibling;
    const label = document.querySelector(`label[for="${CSS.escape(field.id)}"]`);
    if (label) box.setAttribute("aria-label", label.textContent.replace(/:\s*$/, ""));
    box.removeAttribute("aria-labelledby");
  }
};
// jQuery calls in the order of asking, and Django's own script has asked by then.
addEventListener("load", () => django.jQuery(nameBoxes));
