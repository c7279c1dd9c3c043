// The page as one SVG text: its elements, its style sheets as they apply at this width, and the icons it uses.
// No script, no address, no token; what is not to be seen goes. Called by bench/shots.py.
async ([width, height]) => {
  const svg = "http://www.w3.org/2000/svg";

  const page = document.body.cloneNode(true);
  const gone = "script, noscript, template, dialog, [popover]:not(.side), input[type=hidden], .skip, [hidden], header.bar";
  page.querySelectorAll(gone).forEach((one) => one.remove());
  const kept = /^(class|dir|lang|type|rows|checked|disabled|placeholder|aria-current|aria-busy|role|viewBox|display|popover)$/;
  const used = new Set();
  for (const one of [page, ...page.querySelectorAll("*")]) {
    const icon = one.localName === "use" && one.getAttribute("href").split("#")[1];
    for (const { name } of [...one.attributes]) if (!kept.test(name)) one.removeAttribute(name);
    if (one.localName === "a") one.setAttribute("href", "#");
    if (icon) one.setAttribute("href", `#${icon}`), used.add(icon);
  }

  // Widths are settled here, for a picture is scaled where it is shown; light and dark stay the reader's own.
  const settled = (rules) => [...rules].map((rule) => {
    if (!(rule instanceof CSSMediaRule)) return rule.cssText;
    if (!/width|pointer|scripting|print/.test(rule.conditionText)) return rule.cssText;
    return matchMedia(rule.conditionText).matches ? settled(rule.cssRules) : "";
  }).join("\n");
  const onScreen = [...document.styleSheets].filter((sheet) => sheet.media.mediaText !== "print");
  const css = onScreen.map((sheet) => settled(sheet.cssRules)).join("\n")
    .replace(/\b(\d+)dvh\b/g, (_, part) => `${(part * height) / 100}px`)
    .replace(/\b(\d+)vw\b/g, (_, part) => `${(part * width) / 100}px`)
    .replace(/\n\s*/g, "\n");

  const address = document.querySelector("use").getAttribute("href").split("#")[0];
  const sprite = new DOMParser().parseFromString(await (await fetch(address)).text(), "image/svg+xml");
  const icons = [...used].sort().map((id) => new XMLSerializer().serializeToString(sprite.getElementById(id)));
  const shown = new XMLSerializer().serializeToString(page);
  return `<svg xmlns="${svg}" width="${width}" height="${height}" viewBox="0 0 ${width} ${height}">
<style><![CDATA[${css}
body { height: ${height}px; overflow: hidden }]]></style>
<defs>${icons.join("\n").replaceAll(` xmlns="${svg}"`, "")}</defs>
<foreignObject width="${width}" height="${height}">${shown}</foreignObject>
</svg>
`;
}
