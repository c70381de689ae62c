"use strict";
// What all forms share: data, words, saving, files. Texts reach the page as text nodes only.
const DATA = JSON.parse(document.getElementById("data").textContent);
const app = document.getElementById("app");
const state = { language: DATA.language, header: { ...DATA.header }, drafts: {}, current: 0, readOnly: false };
const item = () => DATA.items[state.current];
const draft = () => state.drafts[item().id];

const t = (key, values = {}) =>
  (DATA.words[key] ? DATA.words[key][state.language] : key).replace(/\{(\w+)\}/g, (_, k) => values[k] ?? "");
const say = (text) => (text ? text[state.language] : "");

// h("p", {class: "hint", onclick: f}, "text", node): an element, never parsed from a string.
function h(tag, attributes = {}, ...children) {
  const node = document.createElement(tag);
  for (const [key, value] of Object.entries(attributes)) {
    if (value === null || value === undefined || value === false) continue;
    if (key.startsWith("on")) node.addEventListener(key.slice(2), value);
    else if (["checked", "disabled", "readOnly", "open"].includes(key)) node[key] = value;
    else if (key !== "value" || tag === "option" || tag === "progress") node.setAttribute(key, value === true ? "" : value);
  }
  node.append(...children.flat(Infinity).filter((c) => c !== null && c !== undefined && c !== false));
  if (["input", "textarea", "select"].includes(tag) && "value" in attributes) node.value = attributes.value;
  return node;
}

// A text whose unseen marks are named by the style sheet and boxed in, so that none of them can
// reorder the page. Joiners are left alone: emoji and several scripts are written with them.
const UNSEEN = /([\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff])/;
const shown = (text) => text.split(UNSEEN).filter(Boolean).map((part) =>
  UNSEEN.test(part)
    ? h("span", { class: "ctl", "data-name": "U+" + part.charCodeAt(0).toString(16).toUpperCase().padStart(4, "0") }, part)
    : document.createTextNode(part));
const bdi = (text) => h("bdi", {}, shown(text));

// ---- saving: IndexedDB, or localStorage where that fails ----------------------------------------
const store = {
  db: null, weak: false, pending: new Map(), busy: false, failed: false,
  key: (id) => `cqa-form/${DATA.form_id}/${id}`,
  async open() {
    try {
      this.db = await new Promise((good, bad) => {
        const ask = indexedDB.open("cqa-forms", 1);
        ask.onupgradeneeded = () => ask.result.createObjectStore("drafts");
        ask.onsuccess = () => good(ask.result);
        ask.onerror = () => bad(ask.error);
      });
    } catch { this.db = null; }
    // Ask the browser not to clear this away when the disk runs full; it may say no.
    navigator.storage?.persist?.().catch(() => {});
  },
  async all() {
    const found = {}, prefix = this.key("");
    if (this.db) {
      const drafts = this.db.transaction("drafts").objectStore("drafts");
      const range = IDBKeyRange.bound(prefix, prefix + "\uffff");
      const [keys, values] = await Promise.all([drafts.getAllKeys(range), drafts.getAll(range)].map(
        (r) => new Promise((good, bad) => { r.onsuccess = () => good(r.result); r.onerror = () => bad(r.error); })));
      keys.forEach((k, i) => { found[k.slice(prefix.length)] = values[i]; });
    }
    try {
      for (const key of Object.keys(localStorage).filter((k) => k.startsWith(prefix))) {
        const value = JSON.parse(localStorage.getItem(key)), id = key.slice(prefix.length);
        if (!found[id] || (value.updated || "") > (found[id].updated || "")) found[id] = value;
      }
    } catch { /* no localStorage here: the database alone serves */ }
    return found;
  },
  put(id, value) {
    if (state.readOnly) return;
    this.pending.set(id, JSON.parse(JSON.stringify(value)));
    showSaved("saving");
    if (!this.busy) this.flush();
  },
  async flush() {
    this.busy = true;
    while (this.pending.size) {
      const batch = [...this.pending];
      this.pending.clear();
      try {
        this.weak = !(await this.write(batch));
        this.failed = false;
      } catch {
        batch.filter(([id]) => !this.pending.has(id)).forEach(([id, value]) => this.pending.set(id, value));
        this.failed = true;
        setTimeout(() => { if (!this.busy) this.flush(); }, 5000);
        break;
      }
    }
    this.busy = false;
    showSaved(this.failed ? "unsaved" : this.weak ? "saved-weakly" : "saved");
  },
  async write(batch) {
    try {
      await new Promise((good, bad) => {
        const work = this.db.transaction("drafts", "readwrite", { durability: "strict" });
        batch.forEach(([id, value]) => work.objectStore("drafts").put(value, this.key(id)));
        work.oncomplete = good;
        work.onerror = work.onabort = () => bad(work.error);
      });
      return true;
    } catch {
      batch.forEach(([id, value]) => localStorage.setItem(this.key(id), JSON.stringify(value)));
      return false;
    }
  },
};
let savedNote = { kind: "nothing", at: new Date() };
function showSaved(kind) {
  if (kind) savedNote = { kind, at: new Date() };
  const place = document.getElementById("saved");
  if (!place) return;
  const time = savedNote.at.toLocaleTimeString("en-GB", { hour: "2-digit", minute: "2-digit" });
  const said = t(state.readOnly ? "read-only" : savedNote.kind, { time });
  if (place.textContent !== said) place.textContent = said;
  place.dataset.kind = savedNote.kind;
  // What changes at every stroke is not read aloud; a failure is.
  place.setAttribute("aria-live", savedNote.kind === "unsaved" ? "assertive" : savedNote.kind === "saving" ? "off" : "polite");
}
window.addEventListener("beforeunload", (event) => {
  if (store.busy || store.failed || store.pending.size) event.preventDefault();
});
function keepHeader() {
  store.put("", { ...state.header, language: state.language, updated: new Date().toISOString() });
}
function touched() {
  draft().updated = new Date().toISOString();
  store.put(item().id, draft());
  live();
}

// ---- fields bound to a holder -------------------------------------------------------------------
let serial = 0;
function field(name, control, hint, className = "field") {
  control.id ||= `f${++serial}`;
  if (hint) control.setAttribute("aria-describedby", `${control.id}-hint`);
  return h("div", { class: className }, h("label", { class: "name", for: control.id }, name),
    hint && h("p", { class: "hint", id: `${control.id}-hint` }, hint), control);
}
const line = (holder, key, attributes = {}) => h("input", {
  type: "text", autocomplete: "off", dir: "auto", ...attributes, value: holder[key] ?? "",
  oninput: (e) => { holder[key] = e.target.value; touched(); },
});
const area = (holder, key, attributes = {}) => h("textarea", {
  rows: 2, dir: "auto", ...attributes, value: holder[key] ?? "",
  oninput: (e) => { holder[key] = e.target.value; touched(); },
});
function choice(label, holder, key, options, after = () => {}, className = "choices") {
  const name = `c${++serial}`;
  return h("div", { class: className, role: "radiogroup", "aria-label": label }, options.map(([value, said], i) =>
    h("label", {}, h("input", {
      type: "radio", name, id: `${name}-${i}`, value: String(value), checked: holder[key] === value,
      onchange: () => { holder[key] = value; touched(); after(); },
    }), h("span", {}, said))));
}
const captioned = (label, ...rest) =>
  h("div", { class: "field" }, h("span", { class: "name", "aria-hidden": "true" }, label), choice(label, ...rest));
const select = (holder, key, options, attributes = {}) => h("select", {
  ...attributes, onchange: (e) => { holder[key] = e.target.value; touched(); },
}, options.map(([value, label]) => h("option", { value, selected: holder[key] === value }, label)));
const tick = (label, holder, key) => h("label", { class: "tick" }, h("input", {
  type: "checkbox", checked: holder[key], onchange: (e) => { holder[key] = e.target.checked; touched(); },
}), h("span", {}, label));
const button = (label, onclick, attributes = {}) => h("button", { type: "button", onclick, ...attributes }, label);

// The values of a scale, highest first: yes and no where there are two, else the numbers.
function scaleOf(part, scale, tail = []) {
  const [low, high] = scale.split("-").map(Number);
  const values = Array.from({ length: high - low + 1 }, (_, i) => high - i);
  return [...values.map((v) => {
    const word = low === 0 && high === 1 ? t(v ? "yes" : "no") : String(v), anchor = part.anchors?.[v];
    return [v, anchor ? [h("b", {}, word), " ", say(anchor)] : h("b", {}, word)];
  }), ...tail];
}
// What a question is for and one line of each kind, folded away until wanted.
const help = (part) => (part.intended_function || part.examples) && h("details", {}, h("summary", {}, t("help")),
  part.intended_function && h("p", {}, h("b", {}, t("intended")), " ", say(part.intended_function)),
  part.examples && ["positive", "negative"].map((k) =>
    h("p", { class: "quote" }, h("b", {}, t(k)), " ", say(part.examples[k]))));

// ---- files ----------------------------------------------------------------------------------------
const plainName = (text) => text.replace(/[^\p{L}\p{N}_-]+/gu, "-") || "anonymous";
function stamp(now = new Date()) {
  const two = (n) => String(Math.abs(n)).padStart(2, "0"), zone = -now.getTimezoneOffset();
  return `${now.getFullYear()}-${two(now.getMonth() + 1)}-${two(now.getDate())}T${two(now.getHours())}:${two(now.getMinutes())}`
    + `:${two(now.getSeconds())}${zone < 0 ? "-" : "+"}${two(Math.trunc(zone / 60))}:${two(zone % 60)}`;
}
// A form may add to what it exports, and say what to do with the file.
let sealing = (whole) => whole, exported = () => {};
function exportFile() {
  const begun = Object.fromEntries(Object.entries(state.drafts).filter(([, d]) => d.updated));
  const whole = {
    kind: DATA.kind, version: 1, form_id: DATA.form_id, taxonomy: DATA.taxonomy.id, exported: stamp(),
    passages: DATA.items.map(({ id, sha256 }) => ({ id, sha256 })), ...rows(), header: state.header, drafts: begun,
  };
  const blob = new Blob([JSON.stringify(sealing(whole), null, 1) + "\n"], { type: "application/json" });
  const who = plainName(state.header.expert_id ?? state.header.judge_id ?? state.header.rater_id ?? "");
  const link = h("a", { href: URL.createObjectURL(blob), download: `${DATA.kind}_${DATA.form_id}_${who}_${stamp().slice(0, 10)}.json` });
  document.body.append(link);
  link.click();
  link.remove();
  setTimeout(() => URL.revokeObjectURL(link.href), 60000);
  exported(link.download);
}
async function takeFile(event) {
  const file = event.target.files[0];
  event.target.value = "";
  if (!file) return;
  try { merge(JSON.parse((await file.text()).replace(/^\ufeff/, ""))); }
  catch { alert(t("not-ours")); }
}
// Nothing that stands here is replaced unless the person says so; a text that differs is left out.
function merge(whole) {
  if (whole.kind !== DATA.kind || whole.version !== 1 || typeof whole.drafts !== "object") throw new Error("not ours");
  const theirs = new Map(whole.passages.map((p) => [p.id, p.sha256])), taken = {}, left = [], differ = [];
  for (const [id, given] of Object.entries(whole.drafts)) {
    const here = DATA.items.find((i) => i.id === id);
    if (!here || theirs.get(id) !== here.sha256) { left.push(id); continue; }
    const come = { ...newDraft(here), ...given }, mine = state.drafts[id];
    // These throw, before anything is taken, if the draft is not of this form.
    drafted(here, come);
    printed(here, come);
    taken[id] = come;
    const order = (d) => JSON.stringify(Object.entries(d).sort());
    if (mine.updated && order(mine) !== order(come)) {
      differ.push(`${id} (${t(mine.updated > come.updated ? "newer-here" : "newer-there")})`);
    }
  }
  if (differ.length && !confirm(t("differ", { list: differ.join("\n") }))) {
    Object.keys(taken).forEach((id) => { if (state.drafts[id].updated) delete taken[id]; });
  }
  for (const [id, come] of Object.entries(taken)) { state.drafts[id] = come; store.put(id, come); }
  for (const [k, v] of Object.entries(whole.header || {})) if (k in state.header && !state.header[k]) state.header[k] = v;
  keepHeader();
  render();
  alert(t("taken", { n: Object.keys(taken).length }) + (left.length ? "\n" + t("left-out", { list: left.join(", ") }) : ""));
}

// ---- the frame --------------------------------------------------------------------------------------
function render() {
  const focus = document.activeElement?.id, top = window.scrollY;
  serial = 0;
  document.documentElement.lang = state.language === "zh" ? "zh-Hans" : "en";
  document.title = say(DATA.title);
  const file = h("input", { type: "file", accept: ".json,application/json", hidden: true, id: "file", onchange: takeFile, "aria-label": t("import") });
  app.replaceChildren(
    h("header", { class: "top" },
      h("h1", {}, say(DATA.title)),
      h("span", { id: "saved", class: "saved", role: "status" }),
      button(state.language === "zh" ? "English" : "中文", () => {
        state.language = state.language === "zh" ? "en" : "zh";
        keepHeader();
        render();
      }, { id: "language", lang: state.language === "zh" ? "en" : "zh-Hans" }),
      button(t("import"), () => file.click(), { id: "import", disabled: state.readOnly }), file,
      button(t("print"), () => print(), { id: "do-print" }),
      button(t("export"), exportFile, { id: "export", class: "main" })),
    state.readOnly ? h("p", { class: "banner", role: "alert" }, t(state.readOnly)) : "",
    h("div", { class: "wrap" },
      h("nav", { "aria-label": t("items") }, h("p", { id: "count" }), h("progress", { id: "bar", "aria-labelledby": "count", max: DATA.items.length }),
        h("ol", {}, DATA.items.map((_, i) => h("li", {}, button("", () => go(i), { "aria-current": String(i === state.current) }))))),
      h("main", { id: "main", tabindex: "-1" }, h("fieldset", { class: "bare", disabled: state.readOnly }, page(),
        h("p", { class: "row turn" },
          state.current > 0 && button(t("previous"), () => go(state.current - 1)),
          state.current < DATA.items.length - 1 && button(t("next"), () => go(state.current + 1), { class: "next" }))))));
  live();
  showSaved();
  window.scrollTo(0, top);
  if (focus) document.getElementById(focus)?.focus({ preventScroll: true });
}
const MARKS = { done: "✓", begun: "◐", none: "○" };
// What follows every stroke: the list of passages and whatever the form shows live.
function live() {
  const kinds = DATA.items.map((i) => status(i, state.drafts[i.id])), done = kinds.filter((k) => k === "done").length;
  document.querySelectorAll("nav li button").forEach((b, i) => {
    if (b.dataset.kind === kinds[i]) return;
    b.dataset.kind = kinds[i];
    b.replaceChildren(h("span", { class: "mark", "aria-hidden": "true" }, MARKS[kinds[i]]),
      h("span", {}, DATA.items[i].name ? say(DATA.items[i].name) : [`${i + 1}. `, bdi(DATA.items[i].title)]), h("span", { class: "sr" }, t(kinds[i])));
  });
  document.getElementById("bar").value = done;
  document.getElementById("count").textContent = t("progress", { done, all: kinds.length });
  follow();
}
function go(i) {
  leave();
  state.current = i;
  render();
  window.scrollTo(0, 0);
  document.getElementById("main").focus({ preventScroll: true });
}
window.addEventListener("beforeprint", () => {
  const begun = DATA.items.filter((i) => state.drafts[i.id].updated);
  document.getElementById("print").replaceChildren(h("h1", {}, say(DATA.title)),
    h("p", {}, `${DATA.form_id} · ${stamp()} · ${t("progress", { done: DATA.items.filter((i) => status(i, state.drafts[i.id]) === "done").length, all: DATA.items.length })}`),
    ...(begun.length ? begun : [item()]).map((i) => h("article", {}, printed(i, state.drafts[i.id]))));
});

// One tab writes. Where the browser has no locks, the tabs ask one another.
async function alone() {
  const name = `cqa-form/${DATA.form_id}`;
  try {
    const free = await new Promise((know, bad) => {
      navigator.locks.request(name, { ifAvailable: true }, (lock) => {
        know(Boolean(lock));
        return lock && new Promise(() => {});
      }).catch(bad);
    });
    if (!free) navigator.locks.request(name, () => location.reload());
    return free;
  } catch {
    if (!window.BroadcastChannel) return true;
    const channel = new BroadcastChannel(name);
    let first = true;
    channel.onmessage = (e) => {
      if (e.data === "here") first = false;
      else if (first) channel.postMessage("here");
    };
    channel.postMessage("anyone?");
    await new Promise((r) => setTimeout(r, 400));
    return first;
  }
}

async function begin() {
  // false, or the words that say why.
  state.readOnly = !(await alone()) && "second-tab";
  await store.open();
  const kept = await store.all().catch(() => {
    state.readOnly = "unreadable";
    return {};
  });
  const header = kept[""] || {};
  if (header.language) state.language = header.language;
  for (const key of Object.keys(state.header)) if (header[key]) state.header[key] = header[key];
  for (const i of DATA.items) state.drafts[i.id] = { ...newDraft(i), ...kept[i.id] };
  const last = DATA.items.map((i) => state.drafts[i.id].updated || "").reduce((best, u, i, all) => (u > all[best] ? i : best), 0);
  state.current = last;
  const when = state.drafts[DATA.items[last].id].updated;
  if (when) savedNote = { kind: "saved", at: new Date(when) };
  render();
}
