"""What a page lacks for people who use a keyboard, a screen reader or little contrast, by headless Chromium's own
accessibility tree and by the colours that it computes (WCAG 2.2 AA: 1.1.1, 1.3.1, 1.4.3, 2.4.7, 4.1.2)."""

from __future__ import annotations

from chromium import Page

NAMED = {"button", "link", "textbox", "searchbox", "combobox", "listbox", "option", "tab", "tabpanel", "table", "image"}
NAMED |= {"region", "img", "DisclosureTriangle"}
"""Roles that need a name."""
DOCUMENT = """(() => {
  const found = [], all = (selector) => [...document.querySelectorAll(selector)].filter((one) => one.checkVisibility());
  const levels = all("h1, h2, h3, h4, h5, h6").map((one) => Number(one.tagName[1]));
  if (levels.filter((level) => level === 1).length !== 1) found.push(`headings of level 1: ${levels}`);
  if (levels.some((level, i) => level - (levels[i - 1] ?? 0) > 1)) found.push(`a heading is skipped: ${levels}`);
  for (const one of all("table")) if (!one.caption?.textContent) found.push("a table without a caption");
  for (const one of all("th")) if (!one.scope) found.push(`a heading of a table without scope: ${one.textContent}`);
  for (const one of all("img")) if (!one.alt) found.push("an image without a text");
  const ids = [...document.querySelectorAll("[id]")].map((one) => one.id);
  for (const id of ids) if (ids.indexOf(id) !== ids.lastIndexOf(id)) found.push(`the id ${id} twice`);
  return found;
})()"""
CONTRAST = """(() => {
  const canvas = document.createElement("canvas").getContext("2d", { willReadFrequently: true }), known = new Map();
  const rgba = (colour) => {
    if (!known.has(colour)) {
      canvas.clearRect(0, 0, 1, 1); canvas.fillStyle = colour; canvas.fillRect(0, 0, 1, 1);
      known.set(colour, [...canvas.getImageData(0, 0, 1, 1).data].map((value) => value / 255));
    }
    return known.get(colour);
  };
  const over = ([r, g, b, a], under) => [r, g, b].map((value, i) => value * a + under[i] * (1 - a));
  const ground = (one) => {
    const below = one.parentElement ? ground(one.parentElement) : [1, 1, 1];
    return over(rgba(getComputedStyle(one).backgroundColor), below);
  };
  const opacity = (one) => (one ? Number(getComputedStyle(one).opacity) * opacity(one.parentElement) : 1);
  const light = (colour) => {
    const [r, g, b] = colour.map((value) => (value <= 0.04045 ? value / 12.92 : ((value + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const found = new Map();
  let texts = 0;
  const check = (one, part, text) => {
    const under = ground(one), look = getComputedStyle(one, part), [r, g, b, a] = rgba(look.color);
    const [x, y] = [light(over([r, g, b, a * opacity(one)], under)), light(under)];
    const ratio = (Math.max(x, y) + 0.05) / (Math.min(x, y) + 0.05);
    texts++;
    const where = `${one.tagName}.${one.className} ${part ?? ""}`;
    if (ratio < 4.5) found.set(`${where}: ${ratio.toFixed(2)}`, text.trim().slice(0, 30));
  };
  for (const one of document.querySelectorAll("body *")) {
    if (!one.checkVisibility() || one.getBoundingClientRect().width < 2 || one.closest("script, select, svg")) continue;
    const own = [...one.childNodes].filter((child) => child.nodeType === 3 && child.data.trim());
    if (own.length) check(one, undefined, own[0].data);
    for (const part of ["::before", "::after"]) {
      const content = getComputedStyle(one, part).content;
      if (/[^\\s"]/.test(content.replace(/^(none|normal)$/, ""))) check(one, part, content);
    }
    if (one.placeholder) check(one, "::placeholder", one.placeholder);
  }
  return [texts, [...found].map(([where, text]) => `contrast of ${where} (${text})`)];
})()"""
FOCUSED = """(() => {
  const one = document.activeElement, look = getComputedStyle(one), box = one.getBoundingClientRect();
  const seen = look.outlineStyle !== "none" && parseFloat(look.outlineWidth) >= 2 && box.width > 2 && box.height > 2;
  return [one.id || one.ariaLabel || one.textContent.slice(0, 30), one !== document.body, seen];
})()"""


def problems(page: Page) -> list[str]:
    """What the open page lacks, in what of it is seen: names, headings, captions, contrast of at least 4.5."""
    nodes = page.call("Accessibility.getFullAXTree")["nodes"]
    roles = [(node["role"]["value"], node.get("name", {}).get("value")) for node in nodes if not node["ignored"]]
    assert any(role in NAMED for role, _ in roles), "nothing was checked"
    texts, contrasts = page.ask(CONTRAST)
    assert texts > 5, "no text was checked"
    return [f"no name: {role}" for role, name in roles if role in NAMED and not name] + page.ask(DOCUMENT) + contrasts


def press(page: Page, key: str, code: int = 0) -> None:
    """Press a key and let it go."""
    text = {"text": "\r"} if key == "Enter" else {}
    for kind in ("keyDown", "keyUp"):
        page.call("Input.dispatchKeyEvent", type=kind, key=key, windowsVirtualKeyCode=code, **text)


def tab_stops(page: Page, most: int = 80) -> list[tuple[str, bool]]:
    """Where the tab key goes, from the page's beginning to its end: a name, and whether the focus is seen there."""
    page.ask("document.activeElement.blur()")
    found = []
    for _ in range(most):
        press(page, "Tab", 9)
        name, there, seen = page.ask(FOCUSED)
        if not there:
            break
        found.append((name, seen))
    return found
