// The passage: marking by mouse, finger and keyboard, and the spans that are drawn on it.
// Positions in the record are Unicode code points; the browser counts UTF-16 units.
const toPoints = (text, units) => [...text.slice(0, units)].length;
const toUnits = (text, points) => [...text].slice(0, points).join("").length;
// Where characters as read, words or sentences begin, by the browser's own rules.
function edges(text, granularity, language) {
  if (!Intl.Segmenter) return [...text].reduce((all, c) => [...all, all[all.length - 1] + c.length], [0]);
  return [...Array.from(new Intl.Segmenter(language, { granularity }).segment(text), (s) => s.index), text.length];
}

// Draw the text cut at every border of a span. Underlines of overlapping spans stand below each other.
function drawn(text, evidence) {
  const letters = [...text];
  const cuts = [...new Set([0, letters.length, ...evidence.flatMap((s) => [s.start, s.end])])].sort((a, b) => a - b);
  return cuts.slice(0, -1).map((from, i) => {
    const over = evidence.map((s, n) => [s, n]).filter(([s]) => s.start <= from && s.end >= cuts[i + 1]);
    return over.reduceRight((inside, [s, n], depth) => [h("span", {
      class: `m m${dimensionIndex(s.dimension) % 6} at${depth % 3}`, "data-n": s.start === from ? n + 1 : null,
    }, inside)], shown(letters.slice(from, cuts[i + 1]).join("")));
  }).flat();
}
const dimensionIndex = (id) => DATA.taxonomy.dimensions.findIndex((d) => d.id === id);

function reader(i, d, changed) {
  const text = i.text, caret = h("span", { class: "caret", "aria-hidden": "true" });
  const box = h("div", {
    class: "passage", id: "passage", lang: i.language, tabindex: "0", role: "textbox", "aria-readonly": "true",
    "aria-multiline": "true", "aria-label": t("text"), "aria-describedby": "keyboard-hint", onkeydown: keys, onfocus: showCaret,
    onblur: showCaret,
  });
  const heard = h("span", { class: "hint", role: "status", id: "heard" });
  let picked = null, cache = {};
  const paint = () => box.replaceChildren(...drawn(text, d.evidence));

  function offset(node, at) {
    const before = document.createRange();
    before.selectNodeContents(box);
    if (before.comparePoint(node, at) < 0) return 0;
    if (before.comparePoint(node, at) > 0) return text.length;
    before.setEnd(node, at);
    return before.toString().length;
  }
  function place(units) {
    const walk = document.createTreeWalker(box, NodeFilter.SHOW_TEXT);
    let node, last = null;
    while ((node = walk.nextNode())) {
      if (units <= node.length) return [node, units];
      units -= node.length;
      last = node;
    }
    return last ? [last, last.length] : [box, 0];
  }
  function where() {
    const s = getSelection();
    if (!s.rangeCount || !s.getRangeAt(0).intersectsNode(box)) return null;
    return { anchor: offset(s.anchorNode, s.anchorOffset), focus: offset(s.focusNode, s.focusOffset) };
  }
  const select = (anchor, focus) => getSelection().setBaseAndExtent(...place(anchor), ...place(focus));
  // A selection without the blanks at its ends, in code points; never half a character.
  function look() {
    const now = where();
    if (!now) return;
    let [from, to] = [now.anchor, now.focus].sort((a, b) => a - b);
    const half = (at) => /[\udc00-\udfff]/.test(text[at] || "") && /[\ud800-\udbff]/.test(text[at - 1] || "");
    if (half(from)) from--;
    if (half(to)) to++;
    while (from < to && /\s/.test(text[from])) from++;
    while (to > from && /\s/.test(text[to - 1])) to--;
    picked = from < to ? { start: toPoints(text, from), end: toPoints(text, to) } : null;
    heard.textContent = picked ? t("picked", { n: picked.end - picked.start }) : "";
    showCaret();
  }
  function showCaret() {
    const now = document.activeElement === box ? where() : null;
    caret.hidden = !now;
    if (!now) return;
    const [node, at] = place(now.focus), around = document.createRange(), frame = box.parentNode.getBoundingClientRect();
    if (node.nodeType !== Node.TEXT_NODE) return;
    around.setStart(node, Math.max(0, at === node.length ? at - 1 : at));
    around.setEnd(node, Math.min(node.length, at === node.length ? at : at + 1));
    const spot = [...around.getClientRects()].pop();
    if (!spot) return;
    caret.style.left = `${(at === node.length ? spot.right : spot.left) - frame.left}px`;
    caret.style.top = `${spot.top - frame.top}px`;
    caret.style.height = `${spot.height}px`;
  }
  function keys(event) {
    const now = where() || { anchor: 0, focus: 0 }, number = Number(event.key);
    const step = (kind, forward) => {
      const all = (cache[kind] ||= edges(text, kind, i.language));
      return forward ? all.find((e) => e > now.focus) ?? text.length : all.findLast((e) => e < now.focus) ?? 0;
    };
    let to = null;
    if (event.key === "ArrowRight" || event.key === "ArrowLeft") {
      to = step(event.ctrlKey || event.altKey ? "word" : "grapheme", event.key === "ArrowRight");
    } else if (["ArrowUp", "ArrowDown", "Home", "End"].includes(event.key)) {
      const s = getSelection();
      if (!where()) select(0, 0);
      s.modify(event.shiftKey ? "extend" : "move", ["ArrowUp", "Home"].includes(event.key) ? "backward" : "forward",
        event.key.startsWith("Arrow") ? "line" : "lineboundary");
      if (!s.rangeCount || !box.contains(s.focusNode)) select(event.shiftKey ? now.anchor : now.focus, now.focus);
      to = where().focus;
    } else if (event.key.toLowerCase() === "s" && !event.ctrlKey && !event.metaKey) {
      const all = (cache.sentence ||= edges(text, "sentence", i.language));
      const from = now.anchor < now.focus ? now.anchor : all.findLast((e) => e <= now.focus && e < text.length) ?? 0;
      select(from, all.find((e) => e > now.focus) ?? text.length);
      event.preventDefault();
      look();
      return caret.scrollIntoView({ block: "nearest" });
    } else if (event.key === "Escape") {
      select(now.focus, now.focus);
      return look();
    } else if (number >= 1 && number <= DATA.taxonomy.dimensions.length && !event.ctrlKey && !event.metaKey && !event.altKey) {
      event.preventDefault();
      return mark(DATA.taxonomy.dimensions[number - 1].id);
    } else return;
    event.preventDefault();
    select(event.shiftKey ? now.anchor : to, to);
    look();
    caret.scrollIntoView({ block: "nearest" });
  }
  function mark(dimension) {
    if (state.readOnly) return;
    if (!picked) { heard.textContent = t("pick-first"); return; }
    const { start, end } = picked;
    if (!d.evidence.some((s) => s.start === start && s.end === end && s.dimension === dimension)) {
      d.evidence.push({ start, end, dimension, quote: [...text].slice(start, end).join(""), note: "" });
      d.evidence.sort((a, b) => a.start - b.start || a.end - b.end);
    }
    picked = null;
    paint();
    const after = toUnits(text, end);
    if (document.activeElement === box) select(after, after);
    else getSelection().removeAllRanges();
    heard.textContent = t("marked", { name: say(DATA.taxonomy.dimensions[dimensionIndex(dimension)].label) });
    changed();
  }
  paint();
  const tools = h("div", { class: "tools", role: "toolbar", "aria-label": t("mark-as") }, h("span", { class: "hint" }, t("mark-as")),
    DATA.taxonomy.dimensions.map((x, n) => button([n < 9 && h("span", { class: "key" }, String(n + 1)), " ",
      h("span", { class: `m m${n % 6}` }, say(x.label))], () => mark(x.id), { "data-mark": x.id, onmousedown: (e) => e.preventDefault() })), heard);
  reader.watch = () => {
    if (where()) return look();
    // Who writes elsewhere has left the selection behind; a finger on a button has not.
    if (["INPUT", "TEXTAREA"].includes(document.activeElement?.tagName)) { picked = null; heard.textContent = ""; }
  };
  return { node: h("div", { class: "reader" }, h("div", { class: "sheet" }, box, caret), tools), paint, select, box };
}
// One listener for the page: touch and mouse alike end up here.
reader.watch = () => {};
document.addEventListener("selectionchange", () => reader.watch());
