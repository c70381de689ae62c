// The annotation form: one passage at a time, in the order of the protocol.
const DIMENSIONS = DATA.taxonomy.dimensions;
const STEPS = ["observation", "function", "effect", "counterfactual", "verdict"];
const KINDS = ["follow-up", "counterexample", "counterfactual"];

const newDraft = (i) => ({
  updated: null, done: false, expert_id: "", engineer_id: "", protocol: "bc", seconds: 0, recall: "", recall_closed: null,
  preamble: "", cot_body: "", summary: "", transcript: "", probes: [], claims: [], evidence: [],
  judgements: Object.fromEntries(DIMENSIONS.map((x) => [x.id, { value: null, score: null, steps: {}, facets: {} }])),
});

// ---- the record ---------------------------------------------------------------------------------
// Blank is what Python's str.strip takes away, so that the reason is composed alike on both sides.
const BLANK = "[\\t-\\r\\x1c-\\x20\\x85\\xa0\\u1680\\u2000-\\u200a\\u2028\\u2029\\u202f\\u205f\\u3000]+";
const strip = (s) => s.replace(new RegExp(`^${BLANK}|${BLANK}$`, "g"), "");
const stepsOf = (j) => STEPS.filter((k) => strip(j.steps[k] || "")).map((k) => ({ kind: k, text: j.steps[k] }));
const compose = (steps, language) => steps.map((s) => strip(s.text)).join(language.startsWith("zh") ? "" : " ");
const probesOf = (d) => d.probes.filter((p) => p.asked || p.why || p.reply || p.correction);
const claimsOf = (d) => d.claims.filter((c) => c.text || c.counterfactuals.length);
const branchesOf = (c) => c.counterfactuals.filter((x) => x.premise || x.outcome);
const judged = (j) => Number.isInteger(j.value);

function drafted(i, d) {
  return {
    id: [i.id, d.expert_id, d.protocol].join("."), passage_id: i.id, protocol: d.protocol,
    expert_id: d.expert_id, engineer_id: (d.protocol === "bc" && d.engineer_id) || null,
    minutes: d.seconds ? Math.max(0.1, Math.round(d.seconds / 6) / 10) : null,
    recall: d.recall, recall_closed: d.recall_closed, preamble: d.preamble, cot_body: d.cot_body, summary: d.summary,
    judgements: DIMENSIONS.filter((x) => judged(d.judgements[x.id])).map((x) => {
      const { value, score, facets, ...j } = d.judgements[x.id], steps = stepsOf(j);
      const given = Object.fromEntries(Object.entries(facets).filter(([, v]) => Number.isInteger(v)));
      return { dimension: x.id, value, score, reason: compose(steps, i.language), steps, facets: given };
    }),
    claims: claimsOf(d).map((c) => ({ ...c, counterfactuals: branchesOf(c) })),
    probes: probesOf(d), evidence: d.evidence, transcript: d.transcript,
    meta: {
      form_id: DATA.form_id, taxonomy: DATA.taxonomy.id, updated: d.updated, language: i.language,
      cannot_judge: DIMENSIONS.map((x) => x.id).filter((id) => d.judgements[id].value === "cannot"),
    },
  };
}
function rows() {
  const kinds = DATA.items.map((i) => [i, state.drafts[i.id], status(i, state.drafts[i.id])]);
  return {
    annotations: kinds.filter(([, , k]) => k === "done").map(([i, d]) => drafted(i, d)),
    unfinished: kinds.filter(([, , k]) => k === "begun").map(([i]) => i.id),
  };
}
// What is missing: [must it be there, words, values, where].
function missing(d) {
  const gaps = [], lack = (must, bad, key, values, where) => { if (bad) gaps.push([must, key, values, where]); };
  lack(true, !d.expert_id, "m-expert", {}, "s-session");
  lack(true, d.protocol === "bc" && !d.engineer_id, "m-engineer", {}, "s-session");
  lack(true, d.seconds > 24 * 3600, "m-clock", {}, "s-session");
  lack(true, !d.recall_closed, "m-recall", {}, "s-recall");
  probesOf(d).forEach((p, n) => lack(true, !p.asked || !p.reply, "m-probe", { n: n + 1 }, "s-probes"));
  for (const x of DIMENSIONS) {
    const j = d.judgements[x.id], name = say(x.label), there = stepsOf(j).length, where = `d-${x.id}`;
    lack(true, j.value === null, "m-verdict", { name }, where);
    lack(true, judged(j) && !there, "m-reason", { name }, where);
    if (!judged(j)) continue;
    lack(false, there && there < STEPS.length, "m-steps", { name, n: STEPS.length - there }, where);
    lack(false, j.score === null, "m-score", { name }, where);
    lack(false, !d.evidence.some((s) => s.dimension === x.id), "m-evidence", { name }, "s-passage");
  }
  lack(true, !DIMENSIONS.some((x) => judged(d.judgements[x.id])), "m-judged", {}, "s-judgements");
  claimsOf(d).forEach((c, n) => {
    lack(true, !c.text, "m-claim", { n: n + 1 }, "s-claims");
    lack(true, branchesOf(c).some((b) => !b.premise || !b.outcome), "m-branch", { n: n + 1 }, "s-claims");
  });
  const bearing = claimsOf(d).filter((c) => c.load_bearing);
  lack(false, !bearing.length, "m-bearing", {}, "s-claims");
  lack(false, bearing.some((c) => !branchesOf(c).length), "m-untested", {}, "s-claims");
  lack(true, !strip(d.cot_body), "m-body", {}, "s-reasoning");
  lack(false, d.protocol === "bc" && !d.transcript, "m-transcript", {}, "s-reasoning");
  lack(false, !d.preamble, "m-preamble", {}, "s-frame");
  lack(false, !d.summary, "m-summary", {}, "s-frame");
  lack(false, !d.seconds, "m-minutes", {}, "s-session");
  return gaps;
}
const ready = (d) => !missing(d).some(([must]) => must);
const status = (i, d) => (d.done && ready(d) ? "done" : d.updated ? "begun" : "none");
// Explicit counterfactuals of load-bearing claims over load-bearing claims.
function density(d) {
  const bearing = claimsOf(d).filter((c) => c.load_bearing);
  return bearing.length ? bearing.flatMap(branchesOf).filter((b) => b.explicit).length / bearing.length : null;
}

// ---- the session clock: counts while it runs and the page is open, and is saved as it goes ------
const clock = { since: null, timer: null };
function count() {
  if (clock.since === null) return;
  const now = Date.now();
  // A gap is a sleeping computer, not work.
  if (now - clock.since < 180000) draft().seconds += (now - clock.since) / 1000;
  clock.since = now;
  const shownHere = document.getElementById("minutes");
  if (shownHere && document.activeElement !== shownHere) shownHere.value = (draft().seconds / 60).toFixed(1);
}
function run(on) {
  count();
  clearInterval(clock.timer);
  clock.since = on ? Date.now() : null;
  if (on) clock.timer = setInterval(() => { count(); touched(); }, 5000);
  const there = document.getElementById("clock");
  if (there) { there.textContent = t(on ? "pause" : "start"); there.setAttribute("aria-pressed", String(on)); }
}
function leave() {
  if (clock.since === null) return;
  run(false);
  touched();
}

// ---- the page -----------------------------------------------------------------------------------
const section = (id, number, hint, ...children) => h("section", { id: `s-${id}`, "aria-labelledby": `s-${id}-h`, tabindex: "-1" },
  h("h2", { id: `s-${id}-h` }, h("span", { class: "number" }, number), t(`h-${id}`)), hint && h("p", { class: "hint" }, t(hint)), children);
const opened = (d, ...children) => (d.recall_closed ? children : [h("p", { class: "locked" }, t("locked"))]);
const FIXED = ["kind", "origin", "at", "dimension"];
const hasWords = (part) => (typeof part === "string" ? part !== ""
  : part !== null && typeof part === "object" && Object.entries(part).some(([k, v]) => !FIXED.includes(k) && hasWords(v)));
// A list that is drawn anew when a part is added or taken away.
function list(holder, make, add) {
  const box = h("div", { class: "grows" });
  const redraw = () => box.replaceChildren(...holder.map((part, n) => make(part, n, () => {
    if (hasWords(part) && !confirm(t("remove-sure"))) return;
    holder.splice(n, 1);
    touched();
    redraw();
  })), button(t(add.words), () => {
    holder.push(add.make());
    touched();
    redraw();
    [...box.children].at(-2).querySelector("textarea, input[type=text]")?.focus();
  }, { class: "add", "data-add": add.words }));
  redraw();
  return box;
}

function page() {
  const d = draft(), i = item();
  if (!d.updated) for (const k of Object.keys(state.header)) d[k] = state.header[k] || d[k];
  return [
    h("p", { class: "kicker" }, `${state.current + 1} / ${DATA.items.length} · `, bdi(i.title)),
    session(d), passageSection(i, d), recall(d), probes(d), judgements(d), claims(d), reasoning(i, d),
    section("frame", 8, "frame-hint", field(t("preamble"), area(d, "preamble", { id: "preamble" }), t("preamble-hint")),
      field(t("summary"), area(d, "summary", { id: "summary" }), t("summary-hint"))),
    section("check", 9, null, h("div", { id: "gaps" })),
  ];
}

function session(d) {
  const who = (key) => h("input", {
    type: "text", id: key, autocomplete: "off", value: d[key],
    oninput: (e) => { state.header[key] = d[key] = e.target.value.trim(); keepHeader(); touched(); },
  });
  const minutes = h("input", {
    type: "number", id: "minutes", min: 0, max: 1440, step: 0.1, value: d.seconds ? (d.seconds / 60).toFixed(1) : "",
    oninput: (e) => { d.seconds = Math.max(0, Number(e.target.value) || 0) * 60; touched(); },
  });
  return section("session", 1, "session-hint",
    h("div", { class: "row" }, field(t("expert"), who("expert_id")), field(t("engineer"), who("engineer_id")), field(t("minutes"), minutes),
      button(t(clock.since === null ? "start" : "pause"), () => run(clock.since === null), { id: "clock", "aria-pressed": String(clock.since !== null) })),
    captioned(t("protocol"), d, "protocol", [["bc", t("bc")], ["solo", t("solo")]], () => { state.header.protocol = d.protocol; keepHeader(); }));
}

function passageSection(i, d) {
  const listed = h("ol", { class: "evidence" });
  const view = reader(i, d, () => { touched(); relist(); });
  function relist() {
    listed.replaceChildren(...d.evidence.map((s, n) => h("li", { class: `b${dimensionIndex(s.dimension) % 6}` },
      h("p", {}, h("b", {}, `${n + 1} · ${say(DIMENSIONS[dimensionIndex(s.dimension)].label)}`), " ", h("span", { class: "quote", lang: i.language }, bdi(s.quote))),
      h("div", { class: "row" }, line(s, "note", { "aria-label": `${t("note")} ${n + 1}`, placeholder: t("note") }),
        button(t("show"), () => {
          view.box.scrollIntoView({ block: "nearest" });
          view.box.focus();
          view.select(toUnits(i.text, s.start), toUnits(i.text, s.end));
        }), button(t("remove"), () => {
          if (s.note && !confirm(t("remove-sure"))) return;
          d.evidence.splice(n, 1);
          touched();
          view.paint();
          relist();
        }, { "aria-label": `${t("remove")} ${n + 1}` })))));
  }
  relist();
  return section("passage", 2, null, h("p", { class: "hint" }, t("passage-hint")),
    h("details", {}, h("summary", {}, t("keyboard")), h("p", { class: "hint", id: "keyboard-hint" }, t("keyboard-hint"))), view.node, listed);
}

function recall(d) {
  const box = area(d, "recall", { id: "recall", readOnly: Boolean(d.recall_closed), rows: 6 });
  return section("recall", 3, "recall-hint", field(t("recall"), box), d.recall_closed
    ? h("p", { class: "row" }, h("span", {}, t("closed-at", { at: d.recall_closed.replace("T", " ").slice(0, 16) })),
      !probesOf(d).length && button(t("reopen"), () => { d.recall_closed = null; touched(); render(); }, { id: "reopen" }))
    : button(t("close-recall"), () => {
      if (!strip(d.recall)) { alert(t("recall-empty")); return; }
      d.recall_closed = stamp();
      touched();
      render();
      document.getElementById("s-probes").focus({ preventScroll: true });
    }, { id: "close-recall", class: "main" }));
}

function probes(d) {
  return section("probes", 4, "probes-hint", opened(d, list(d.probes, (p, n, remove) => h("fieldset", {},
    h("legend", {}, `${t("probe")} ${n + 1}`, p.at ? h("span", { class: "time" }, p.at.slice(11, 16)) : ""),
    field(t("asked"), area(p, "asked")), field(t("probe-why"), line(p, "why")), field(t("reply"), area(p, "reply")), field(t("correction"), area(p, "correction")),
    captioned(t("kind"), p, "kind", KINDS.map((k) => [k, t(`kind-${k}`)])),
    captioned(t("origin"), p, "origin", [["prior-practice", t("prior")], ["fresh", t("fresh")], [null, t("unknown")]]),
    button(t("remove"), remove, { class: "plain" })), {
    words: "add-probe",
    make: () => ({
      asked: "", why: "", reply: "", correction: "", kind: "follow-up", origin: null,
      at: new Date(d.recall_closed) > new Date() ? d.recall_closed : stamp(),
    }),
  })));
}

function judgements(d) {
  const scores = [5, 4, 3, 2, 1].map((n) => [n, n === 5 || n === 1 ? `${n} ${t(`score-${n}`)}` : String(n)]);
  return section("judgements", 5, "judgements-hint", opened(d, DIMENSIONS.map((x, n) => {
    const j = d.judgements[x.id];
    return h("fieldset", { id: `d-${x.id}`, class: `b${n % 6}`, tabindex: "-1" }, h("legend", {}, say(x.label)), h("p", { class: "ask" }, say(x.question)), help(x),
      h("h3", {}, t("steps")), STEPS.map((k) => field(t(`step-${k}`), area(j.steps, k, { id: `${x.id}-${k}` }), t(`step-${k}-hint`))),
      h("h3", {}, t("verdict")), choice(`${say(x.label)}: ${t("verdict")}`, j, "value", scaleOf(x, x.scale, [["cannot", t("cannot")]]), () => {}, "choices tall"),
      h("h3", {}, t("score")), choice(`${say(x.label)}: ${t("score")}`, j, "score", [...scores, [null, "—"]]),
      x.facets.length > 0 && h("details", { class: "facets" }, h("summary", {}, t("facets")), x.facets.map((f) => h("div", { class: "facet" },
        h("h3", {}, t(f.aspect)), h("p", { class: "ask" }, say(f.question)), help(f),
        choice(`${say(x.label)}: ${t(f.aspect)}`, j.facets, f.aspect, scaleOf(f, x.scale, [[null, t("not-judged")]]), () => {}, "choices tall")))));
  })));
}

function claims(d) {
  return section("claims", 6, "claims-hint", opened(d, h("p", { id: "density", role: "status" }), list(d.claims, (c, n, remove) => h("fieldset", {},
    h("legend", {}, `${t("claim")} ${n + 1}`), field(t("claim-text"), area(c, "text")),
    field(t("dimension"), select(c, "dimension", DIMENSIONS.map((x) => [x.id, say(x.label)]))), tick(t("bearing"), c, "load_bearing"),
    list(c.counterfactuals, (b, m, drop) => h("div", { class: "branch" },
      field(t("premise"), area(b, "premise")), field(t("outcome"), area(b, "outcome")),
      tick(t("explicit"), b, "explicit"), button(t("remove"), drop, { class: "plain" })), {
      words: "add-branch", make: () => ({ premise: "", outcome: "", explicit: true }),
    }), button(t("remove-claim"), remove, { class: "plain" })), {
    words: "add-claim", make: () => ({ text: "", dimension: DIMENSIONS[0].id, load_bearing: false, counterfactuals: [] }),
  })));
}

function reasoning(i, d) {
  const body = area(d, "cot_body", { id: "cot_body", rows: 14, lang: i.language });
  const differences = h("div", { id: "diff", class: "diff", lang: i.language, hidden: true, tabindex: "0", "aria-label": t("diff") });
  let later = 0;
  const compare = () => { differences.hidden = false; differences.replaceChildren(...showDiff(d.transcript, d.cot_body)); };
  const again = () => { clearTimeout(later); if (!differences.hidden) later = setTimeout(compare, 800); };
  return section("reasoning", 7, "reasoning-hint",
    h("div", { class: "two", oninput: again }, field(t("transcript"), area(d, "transcript", { id: "transcript", rows: 14 }), t("transcript-hint")), field(t("body"), body, t("body-hint"))),
    h("p", { class: "row" }, button(t("compose"), () => {
      if (strip(d.cot_body)) { alert(t("compose-full")); return; }
      d.cot_body = DIMENSIONS.filter((x) => judged(d.judgements[x.id])).map((x) => compose(stepsOf(d.judgements[x.id]), i.language)).filter(Boolean).join("\n\n");
      body.value = d.cot_body;
      touched();
    }, { id: "compose" }), button(t("compare"), compare, { id: "compare" })), differences);
}

function follow() {
  const d = draft(), gaps = missing(d), must = gaps.filter(([m]) => m).length, whole = density(d);
  const said = document.getElementById("density");
  if (said) said.textContent = whole === null ? t("density-none") : t("density", { n: whole.toFixed(2) });
  const place = document.getElementById("gaps"), finished = d.done && !must, known = JSON.stringify([gaps, finished, state.language]);
  if (place.dataset.known === known) return;
  place.dataset.known = known;
  const had = place.contains(document.activeElement);
  const jump = (where) => {
    const at = document.getElementById(where) || document.getElementById("s-judgements");
    at.scrollIntoView();
    at.focus({ preventScroll: true });
  };
  place.replaceChildren(...[true, false].map((kind) => {
    const these = gaps.filter(([m]) => m === kind);
    return h("div", {}, h("h3", {}, t(kind ? "musts" : "wishes", { n: these.length })), these.length ? h("ul", { class: "check" }, these.map(([, key, values, where]) =>
      h("li", {}, button(t(key, values), () => jump(where), { class: "plain" })))) : h("p", { class: "ok" }, t("nothing-missing")));
  }), h("p", { class: "row" }, finished
    ? [h("span", { class: "ok" }, t("finished")), button(t("unfinish"), () => { d.done = false; touched(); }, { id: "unfinish" })]
    : button(t("finish"), () => { d.done = true; run(false); touched(); }, { id: "finish", class: "main", disabled: must > 0 })));
  if (had) place.querySelector("#unfinish, #finish:enabled")?.focus();
}

// ---- on paper -----------------------------------------------------------------------------------
function printed(i, d) {
  const part = (name, said) => (said ? [h("h3", {}, name), h("p", {}, shown(String(said)))] : []);
  const value = (v, x) => (v === "cannot" ? t("cannot") : v === null || v === undefined ? "—"
    : x.scale === "0-1" ? t(v ? "yes" : "no") : `${v} (${x.scale})`);
  return [h("h2", {}, bdi(i.title)),
    h("p", {}, [d.expert_id, d.engineer_id, t(d.protocol), d.seconds ? `${(d.seconds / 60).toFixed(1)} min` : "", t(status(i, d))].filter(Boolean).join(" · ")),
    h("div", { class: "passage", lang: i.language }, drawn(i.text, d.evidence)),
    d.evidence.map((s, n) => h("p", {}, h("b", {}, `${n + 1} ${say(DIMENSIONS[dimensionIndex(s.dimension)].label)} `), bdi(s.quote), s.note ? [" — ", bdi(s.note)] : "")),
    part(t("h-recall"), d.recall), d.recall_closed ? h("p", {}, t("closed-at", { at: d.recall_closed })) : "",
    probesOf(d).map((p, n) => [h("h3", {}, `${t("probe")} ${n + 1} · ${t(`kind-${p.kind}`)} · ${p.origin ? t(p.origin === "fresh" ? "fresh" : "prior") : t("unknown")} · ${p.at || ""}`),
      ["asked", "why", "reply", "correction"].map((k) => p[k] && h("p", {}, h("b", {}, t(k === "why" ? "probe-why" : k), " "), bdi(p[k])))]),
    DIMENSIONS.map((x) => {
      const j = d.judgements[x.id];
      return [h("h3", {}, say(x.label)), h("p", {}, h("b", {}, t("verdict")), ` ${value(j.value, x)} `, h("b", {}, t("score")), ` ${j.score ? `${j.score}/5` : "—"}`),
        stepsOf(j).map((s) => h("p", {}, h("b", {}, t(`step-${s.kind}`), " "), bdi(s.text))),
        x.facets.filter((f) => Number.isInteger(j.facets[f.aspect])).map((f) => h("p", {}, h("b", {}, t(f.aspect)), ` ${value(j.facets[f.aspect], x)}`))];
    }),
    claimsOf(d).map((c, n) => [h("h3", {}, `${t("claim")} ${n + 1}${c.load_bearing ? ` · ${t("bearing-short")}` : ""}`), h("p", {}, bdi(c.text)),
      branchesOf(c).map((b) => h("p", {}, bdi(b.premise), " → ", bdi(b.outcome)))]),
    part(t("preamble"), d.preamble), part(t("body"), d.cot_body), part(t("summary"), d.summary), part(t("transcript"), d.transcript)].flat(3);
}
window.addEventListener("pagehide", leave);
begin();
