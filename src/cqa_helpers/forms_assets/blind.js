// The blind rating form: a passage beside unsigned diagnoses, rated one by one and put in order.
const DIMENSIONS = DATA.taxonomy.dimensions;
const SHEETS = DATA.items.filter((i) => !i.worked), EXAMPLES = DATA.items.filter((i) => i.worked);
const LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const codesOf = (i) => i.diagnoses.map((x) => x.code);
const each = (i, make) => Object.fromEntries(codesOf(i).map((c) => [c, make(c)]));
const newDraft = (i) => ({
  updated: null, rater_id: DATA.header.rater_id, ms: 0, compared: null,
  values: each(i, () => ({})), places: {}, why: each(i, () => ""),
});

// ---- the record ---------------------------------------------------------------------------------
// What is still open on a sheet: [diagnosis, words, where].
function missing(i, d) {
  const gaps = codesOf(i).flatMap((c, n) => DIMENSIONS.filter((x) => !Number.isInteger(d.values[c][x.id]))
    .map((x) => [LETTERS[n], say(x.label), `q-${LETTERS[n]}-${x.id}`]));
  if (codesOf(i).length < 2) return gaps;
  return [...gaps, ...codesOf(i).flatMap((c, n) => (Number.isInteger(d.places[c]) ? [] : [[LETTERS[n], t("place"), `place-${LETTERS[n]}`]]))];
}
const status = (i, d) => ((i.worked ? d.compared : !missing(i, d).length) ? "done" : d.updated ? "begun" : "none");
// 1 is best, a tie shares the better place, and the next place counts all that stand before it.
// What is only half ordered is no ranking.
function ranks(i, d) {
  const places = codesOf(i).map((c) => d.places[c]);
  if (places.length < 2 || !places.every(Number.isInteger)) return null;
  return each(i, (c) => 1 + places.filter((p) => p < d.places[c]).length);
}
function answers(i, d) {
  const order = ranks(i, d);
  return codesOf(i).map((code, n) => ({
    code, position: n + 1, rank: order && order[code], why: String(d.why[code]),
    values: Object.fromEntries(DIMENSIONS.filter((x) => Number.isInteger(d.values[code][x.id])).map((x) => [x.id, d.values[code][x.id]])),
  }));
}
// Throws if this is no draft of this form: another rater's, or a value outside its scale.
function drafted(i, d) {
  if (d.rater_id !== DATA.header.rater_id) throw new Error("another rater");
  for (const c of codesOf(i)) {
    for (const x of DIMENSIONS) {
      const [low, high] = x.scale.split("-").map(Number), v = d.values[c][x.id];
      if (v !== undefined && !(Number.isInteger(v) && v >= low && v <= high)) throw new Error(x.id);
    }
    const p = d.places[c];
    if (typeof d.why[c] !== "string" || (p !== undefined && !(Number.isInteger(p) && p >= 1 && p <= codesOf(i).length))) throw new Error(c);
  }
  return { id: i.id, turn: i.turn, seconds: Math.round(d.ms / 1000), status: status(i, d), answers: answers(i, d) };
}
function rows() {
  keepTime();
  const of = (items) => items.map((i) => drafted(i, state.drafts[i.id])), open = left();
  if (open.length) alert(t("export-open", { n: open.length, list: open.slice(0, 6).map((i) => say(i.name)).join(state.language === "zh" ? "、" : ", ") + (open.length > 6 ? " …" : "") }));
  return {
    rater_id: DATA.header.rater_id, consent: state.header.consent, consent_sha256: sha256(canonical(DATA.consent)), language: state.language,
    sheets: of(SHEETS), calibration: of(EXAMPLES), unfinished: open.map((i) => i.id),
  };
}
// Whom the file goes to.
const to = () => (DATA.contact ? (state.language === "zh" ? " " : "") + DATA.contact : t("sender"));
exported = (file) => {
  const place = document.getElementById("exported");
  if (place) place.replaceChildren(h("p", { class: "banner ok" }, t(left().length ? "exported-part" : "exported-now", { file, to: to(), n: left().length })));
};
const left = () => SHEETS.filter((i) => status(i, state.drafts[i.id]) !== "done");
const exercised = () => EXAMPLES.every((i) => status(i, state.drafts[i.id]) === "done");
const locked = () => !item().worked && !exercised();

// ---- time on a sheet: counts while it is on screen and somebody is at work ---------------------
const IDLE = 120000, clock = { since: null, active: Date.now(), kept: 0 };
const working = () => state.header.consent && !locked() && !draft().compared && !state.readOnly && document.visibilityState === "visible";
function count() {
  const now = Date.now();
  // A gap is a sleeping computer, and nobody's hand for two minutes is nobody's work.
  if (clock.since !== null && working() && now - clock.active < IDLE) draft().ms += Math.min(now - clock.since, 5000);
  clock.since = now;
  showTime();
}
function showTime() {
  const place = document.getElementById("spent"), said = t("spent", { n: Math.floor(draft().ms / 60000) });
  if (place && place.textContent !== said) place.textContent = said;
}
function keepTime() {
  count();
  if (working() && draft().ms !== clock.kept) store.put(item().id, draft());
  clock.kept = draft().ms;
}
function leave() {
  keepTime();
  clock.since = null;
}
setInterval(() => { if (state.drafts[item().id]) { count(); if (draft().ms - clock.kept > 15000) keepTime(); } }, 1000);
for (const kind of ["pointerdown", "pointermove", "keydown", "wheel", "touchmove"]) {
  addEventListener(kind, () => { clock.active = Date.now(); }, { capture: true, passive: true });
}
for (const kind of ["visibilitychange", "pagehide"]) addEventListener(kind, () => { if (state.drafts[item().id]) keepTime(); }, { capture: true });

// ---- the page -----------------------------------------------------------------------------------
function page() {
  if (!state.header.consent) return consentPage();
  const i = item(), d = draft(), all = i.worked ? EXAMPLES : SHEETS;
  const head = h("p", { class: "kicker" }, t("name-of", { name: say(i.name), all: all.length }), " · ", h("span", { id: "spent" }), " · ", DATA.header.rater_id);
  if (locked()) {
    const first = EXAMPLES.find((x) => status(x, state.drafts[x.id]) !== "done");
    return [head, h("p", { class: "locked" }, t("examples-first")), button(say(first.name), () => go(DATA.items.indexOf(first)), { id: "to-example", class: "main" })];
  }
  return [
    head,
    h("div", { id: "exported", role: "status" }),
    h("p", { class: "hint" }, t(i.worked ? "example-hint" : "sheet-hint"), i.diagnoses.some((x) => /\]$/m.test(x.text)) && ` ${t("brackets")}`),
    h("details", { class: "keys" }, h("summary", {}, t("keyboard-blind")), h("p", { class: "hint" }, t("keyboard-blind-hint"))),
    h("div", { class: "pair" },
      h("div", { class: "holder" }, h("section", { class: "aside", id: "aside", "aria-labelledby": "h-text" }, h("h2", { id: "h-text" }, t("text")),
        boxed(h("div", { class: "passage", id: "text", lang: i.language, tabindex: "0", role: "region", "aria-labelledby": "h-text" }, shown(i.text))))),
      h("div", {}, h("fieldset", { class: "bare", disabled: Boolean(d.compared) }, i.diagnoses.map((x, n) => diagnosis(i, d, x, n)),
        i.diagnoses.length > 1 && ranking(i, d)), i.worked && comparison(i, d), h("div", { id: "open", role: "status" }))),
    button(t("peek"), peek, { id: "peek", "aria-expanded": "false", "aria-controls": "aside" }),
  ];
}
function consentPage() {
  const box = h("input", {
    type: "checkbox", id: "agree",
    onchange: (e) => { document.getElementById("start").disabled = !e.target.checked; },
  });
  return h("section", { class: "consent" }, h("h2", {}, t("consent")), say(DATA.consent).split("\n\n").map((p) => h("p", {}, p)),
    h("div", { class: "explained" }, h("p", {}, t(EXAMPLES.length ? "await" : "await-none", { examples: EXAMPLES.length, sheets: SHEETS.length })),
      h("p", {}, t("await-saved")), h("p", {}, t("await-sending", { to: to() }))),
    h("label", { class: "tick" }, box, h("span", {}, t("agree"))), h("p", { class: "row" }, button(t("start-rating"), () => {
      state.header.consent = stamp();
      keepHeader();
      render();
      window.scrollTo(0, 0);
      document.getElementById("main").focus({ preventScroll: true });
    }, { id: "start", class: "main", disabled: true })));
}
// On a narrow screen the passage can be laid over the lower half, to be read beside a diagnosis.
function peek() {
  const aside = document.getElementById("aside"), hold = aside.parentNode, over = !aside.classList.contains("over"), it = document.getElementById("peek");
  // The page keeps its length, or what is being read would jump.
  hold.style.height = over ? `${hold.offsetHeight}px` : "";
  aside.classList.toggle("over", over);
  it.setAttribute("aria-expanded", String(over));
  it.textContent = t(over ? "unpeek" : "peek");
  mark(document.getElementById("text").parentNode);
}
// A text in a box that says so when there is more of it.
const boxed = (text) => h("div", { class: "boxed" }, text, h("p", { class: "more", hidden: true, "aria-hidden": "true" }, t("more")));
function diagnosis(i, d, x, n) {
  const letter = LETTERS[n], id = `h-${letter}`, name = t("diagnosis", { letter });
  return h("section", { class: "diagnosis", "aria-labelledby": id }, h("h2", { id }, name),
    boxed(h("div", { class: "said", lang: i.language, tabindex: "0", role: "region", "aria-labelledby": id }, shown(x.text))),
    DIMENSIONS.map((of) => criterion(i, d, x.code, letter, of)),
    field(t("why-blind"), area(d.why, x.code, { id: `why-${letter}` })),
    d.compared && h("div", { class: "explained" }, h("h3", {}, t("study-why")), h("p", {}, say(i.worked.why[x.code]))));
}
function criterion(i, d, code, letter, of) {
  const [low, high] = of.scale.split("-").map(Number), id = `q-${letter}-${of.id}`;
  const values = Array.from({ length: high - low + 1 }, (_, n) => low + n);
  const row = choice(`${letter}: ${say(of.label)}`, d.values[code], of.id, values.map((v) => [v, String(v)]), () => {}, "choices steps");
  row.setAttribute("aria-describedby", `${id}-ask ${id}-ends`);
  byDigit(row);
  return h("div", { class: "criterion", id, tabindex: "-1" },
    h("p", { id: `${id}-ask` }, h("b", {}, say(of.label)), " ", h("span", { class: "quiet" }, say(of.question))), row,
    h("ul", { class: "ends", id: `${id}-ends` }, values.filter((v) => of.anchors[v]).map((v) => h("li", {}, h("b", {}, String(v)), " ", say(of.anchors[v])))),
    d.compared && h("p", { class: "study" }, t("study-value", { mine: d.values[code][of.id], theirs: i.worked.values[code][of.id] })));
}
// A digit chooses within the row that has the focus.
const byDigit = (row) => row.addEventListener("keydown", (e) => {
  const input = !e.ctrlKey && !e.metaKey && !e.altKey && [...row.querySelectorAll("input")].find((b) => b.value === e.key);
  if (input) { input.focus(); input.click(); }
});
function ranking(i, d) {
  const places = i.diagnoses.map((_, n) => n + 1);
  return h("section", { class: "ranking", "aria-labelledby": "h-rank" }, h("h2", { id: "h-rank" }, t("ranking")), h("p", { class: "hint" }, t("ranking-hint")),
    i.diagnoses.map((x, n) => {
      const letter = LETTERS[n], row = choice(t("place-of", { letter }), d.places, x.code, places.map((p) => [p, String(p)]), () => {}, "choices steps");
      byDigit(row);
      return h("div", { class: "place", id: `place-${letter}`, tabindex: "-1" }, h("b", { "aria-hidden": "true" }, letter),
        // How it begins: by now it stands far above.
        h("span", { class: "quiet start", lang: i.language, "aria-hidden": "true" }, shown(x.text.split("\n", 1)[0])), row,
        d.compared && h("p", { class: "study" }, t("study-value", { mine: ranks(i, d)[x.code], theirs: i.worked.values[x.code].rank })));
    }), h("p", { id: "order", role: "status" }));
}
function comparison(i, d) {
  if (d.compared) return h("p", { class: "ok" }, t("compared"));
  return h("p", { class: "row" }, button(t("compare-study"), () => {
    leave();
    d.compared = stamp();
    touched();
    render();
    document.getElementById("main").focus({ preventScroll: true });
    window.scrollTo(0, 0);
  }, { id: "compare-study", class: "main", disabled: true }));
}

// ---- what follows every stroke ------------------------------------------------------------------
function follow() {
  const done = SHEETS.length - left().length, bar = document.getElementById("bar");
  bar.max = SHEETS.length;
  bar.value = done;
  document.getElementById("count").textContent = t("progress", { done, all: SHEETS.length });
  const open = document.getElementById("open");
  if (!open) return;
  showTime();
  const i = item(), d = draft(), gaps = missing(i, d), order = document.getElementById("order"), given = order && ranks(i, d);
  if (order) order.textContent = given ? t("order", { order: said(i, given) }) : t("order-open");
  const compare = document.getElementById("compare-study");
  if (compare) compare.disabled = gaps.length > 0;
  const known = JSON.stringify([gaps, done, state.language]);
  if (open.dataset.known === known) return;
  open.dataset.known = known;
  open.replaceChildren(...[gaps.length
    ? h("details", {}, h("summary", {}, t("open", { n: gaps.length })), h("ul", { class: "check" }, gaps.map(([letter, words, where]) =>
      h("li", {}, button(`${letter}: ${words}`, () => {
        const at = document.getElementById(where);
        at.scrollIntoView({ block: "center" });
        at.querySelector("input").focus({ preventScroll: true });
      }, { class: "plain" })))))
    : i.worked ? "" : left().length ? h("p", { class: "ok" }, t("sheet-done", { n: left().length }))
      : [h("p", { class: "ok" }, t("all-done", { to: to() })), button(t("export"), exportFile, { id: "export-here", class: "main" })]].flat());
  size();
}
// "A, then B = C": the order in words, best first.
const said = (i, given) => [...new Set(Object.values(given))].sort((a, b) => a - b)
  .map((r) => codesOf(i).map((c, n) => (given[c] === r ? LETTERS[n] : "")).filter(Boolean).join(" = ")).join(" > ");
// Diagnoses stand in boxes of one height: that of the longest, or as much as reads well at once.
function size() {
  const boxes = [...document.querySelectorAll(".said")];
  boxes.forEach((b) => { b.style.height = "auto"; });
  const tallest = Math.max(...boxes.map((b) => b.scrollHeight + b.offsetHeight - b.clientHeight)), line = parseFloat(getComputedStyle(boxes[0]).lineHeight);
  boxes.forEach((b) => { b.style.height = `${Math.ceil(Math.min(tallest, 16.5 * line, Math.max(9.5 * line, innerHeight * 0.6)))}px`; });
  document.querySelectorAll(".boxed").forEach(mark);
}
function mark(box) {
  const text = box.firstChild, rest = text.scrollHeight - text.clientHeight - text.scrollTop > 4;
  box.classList.toggle("on", rest);
  box.lastChild.hidden = !rest;
}
addEventListener("scroll", (e) => { if (e.target.parentNode?.classList?.contains("boxed")) mark(e.target.parentNode); }, { capture: true, passive: true });
addEventListener("resize", () => { if (document.querySelector(".said")) size(); });

// ---- on paper -----------------------------------------------------------------------------------
function printed(i, d) {
  const order = ranks(i, d);
  return [h("h2", {}, say(i.name)), h("p", {}, t(status(i, d))), h("div", { class: "passage", lang: i.language }, shown(i.text)),
    i.diagnoses.map((x, n) => [h("h3", {}, t("diagnosis", { letter: LETTERS[n] })), h("p", { lang: i.language }, shown(x.text)),
      h("p", {}, DIMENSIONS.map((of) => `${say(of.label)} ${d.values[x.code][of.id] ?? "—"}`).join(" · ")), d.why[x.code] && h("p", {}, h("b", {}, t("why-blind"), " "), bdi(d.why[x.code]))]),
    order && h("p", {}, t("order", { order: said(i, order) }))].flat(3);
}
begin();
