// The rating sheet: any taxonomy, any texts, one answer a dimension.
const newDraft = () => ({ updated: null, answers: {} });
const answer = (d, id) => (d.answers[id] ||= { value: null, reason: "" });
const leave = () => {};
const follow = () => {};
const dimensions = DATA.taxonomy.dimensions;

function status(i, d) {
  const given = dimensions.filter((x) => (d.answers[x.id]?.value ?? null) !== null).length;
  return given === dimensions.length && state.header.judge_id ? "done" : d.updated ? "begun" : "none";
}
// Throws if an answer lies outside its scale: that is no draft of this form.
function drafted(i, d) {
  return dimensions.filter((x) => (d.answers[x.id]?.value ?? null) !== null).map((x) => {
    const { value, reason } = d.answers[x.id], [low, high] = x.scale.split("-").map(Number), none = value === "cannot";
    if (!none && !(Number.isInteger(value) && value >= low && value <= high)) throw new Error(x.id);
    return {
      item_id: i.id, dimension: x.id, judge_id: state.header.judge_id, value: none ? null : value, scale: x.scale,
      reason: String(reason), status: none ? "refused" : "ok", meta: { form_id: DATA.form_id, updated: d.updated },
    };
  });
}
function rows() {
  if (!state.header.judge_id) alert(t("name-first"));
  return {
    judge_id: state.header.judge_id,
    verdicts: state.header.judge_id ? DATA.items.flatMap((i) => drafted(i, state.drafts[i.id])) : [],
  };
}

function page() {
  const who = h("input", {
    type: "text", id: "judge", autocomplete: "off", value: state.header.judge_id,
    oninput: (e) => { state.header.judge_id = e.target.value.trim(); keepHeader(); live(); },
  });
  return [
    DATA.intro && h("p", { class: "intro" }, say(DATA.intro)),
    h("section", {}, field(t("judge-id"), who, t("judge-id-hint"))),
    h("section", {}, h("h2", {}, bdi(item().title)),
      h("div", { class: "passage", lang: item().language, tabindex: "0", "aria-label": t("text") }, shown(item().text))),
    dimensions.map((x) => {
      const a = answer(draft(), x.id);
      return h("fieldset", { id: `d-${x.id}` }, h("legend", {}, say(x.label)), h("p", { class: "ask" }, say(x.question)), help(x),
        choice(say(x.label), a, "value", scaleOf(x, x.scale, [["cannot", t("cannot")]]), () => {}, "choices tall"),
        field(t("why"), area(a, "reason")));
    }),
  ];
}
function printed(i, d) {
  return [h("h2", {}, bdi(i.title)), h("div", { class: "passage" }, shown(i.text)), dimensions.map((x) => {
    const { value = null, reason = "" } = d.answers[x.id] || {};
    return [h("h3", {}, say(x.label)), h("p", {}, say(x.question)),
      h("p", {}, h("b", {}, value === null ? "—" : value === "cannot" ? t("cannot") : `${value} (${x.scale})`)), h("p", {}, shown(reason))];
  })];
}
begin();
