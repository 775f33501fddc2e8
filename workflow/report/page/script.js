"use strict";
// Texts reach the page by textContent alone, so nothing that a model wrote becomes markup.
const $ = (id) => document.getElementById(id);
const facts = JSON.parse($("facts").textContent);
const LETTERS = "ABCDEFGHIJKLMN", THERE = 1, CORRECT = 2, ENDED = 4, NOWHERE = 0xffffffff, ROW = 58;
const S = facts.settings.length;
const number = (value) => value.toLocaleString("en");

/** Replace control characters by their Unicode pictures, so that they are seen and have no effect. */
const visible = (text) => text.replace(/[\x00-\x08\x0b-\x1f]/g, (c) => String.fromCharCode(0x2400 + c.charCodeAt(0))).replace(/[\x7f-\x9f]/g, "\u2421");

/** Make an element with attributes (`class`, `onclick`, …) and children. Children are elements, or strings that stay text. */
function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element[name] = value;
    else if (value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined).map((child) => (typeof child === "string" ? visible(child) : child)));
  return element;
}

/** Bytes of an element that holds gzip in base64. */
async function inflate(id) {
  const raw = atob($(id).textContent);
  const bytes = new Uint8Array(raw.length);
  for (let i = 0; i < raw.length; i++) bytes[i] = raw.charCodeAt(i);
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"))).arrayBuffer();
}
const inflateJson = async (id) => JSON.parse(new TextDecoder().decode(await inflate(id)));

// ---- tabs and address ----
const SECTIONS = { answer: "answer", run: "run", tables: "tables", figures: "figures", questions: "reader" };
const drawn = new Set();
if (facts.runs) { // two runs side by side: the steps of each are in its own report
  document.title = facts.runs.title;
  document.querySelector('[data-tab="run"]').remove();
}
function show(tab) {
  for (const button of document.querySelectorAll("[data-tab]")) {
    const here = button.dataset.tab === tab;
    button.setAttribute("aria-selected", here);
    button.tabIndex = here ? 0 : -1;
    $(SECTIONS[button.dataset.tab]).hidden = !here;
  }
  if (!drawn.has(tab)) {
    drawn.add(tab);
    ({ answer: drawAnswer, run: drawRun, tables: () => drawTable(facts.tables[0]), figures: drawFigures, questions: drawList })[tab]();
  } else if (tab === "questions") drawList();
}
const focusPanel = () => document.querySelector("main > section:not([hidden])").focus();
$("skip").onclick = (event) => { focusPanel(); event.preventDefault(); };
const address = (...parts) => history.replaceState(null, "", "#" + parts.map(encodeURIComponent).join("/"));
function follow() {
  const [tab, ...rest] = location.hash.slice(1).split("/").map(decodeURIComponent);
  if (tab === "question") return followQuestion(...rest);
  show(tab in SECTIONS ? tab : "answer");
  const table = tab === "tables" && facts.tables.find((one) => one.name === rest[0]);
  if (table) drawTable(table);
}
for (const button of document.querySelectorAll("[data-tab]")) {
  button.onclick = () => { show(button.dataset.tab); address(button.dataset.tab); };
  button.onkeydown = (event) => {
    const step = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!step) return;
    const tabs = [...document.querySelectorAll("[data-tab]")];
    const next = tabs[(tabs.indexOf(button) + step + tabs.length) % tabs.length];
    next.click(); next.focus(); event.stopPropagation();
  };
}
$("theme").onclick = () => {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  document.documentElement.dataset.theme = dark ? "light" : "dark";
};

// ---- tables ----
const LIMIT = 400;
const isNumber = (text) => /^[-+]?[\d,]*\.?\d+(e[-+]?\d+)?%?$/i.test(text);
const toNumber = (text) => parseFloat(text.replaceAll(",", ""));
/** Verdict of a comparison or a claim to its look. */
const LOOKS = {
  reproduced: "reproduced", shown: "reproduced", better: "reproduced", "equal within the margin": "reproduced",
  differs: "differs", contradicted: "differs", "other number": "differs", worse: "differs",
  "cannot tell": "open", "no difference shown": "open", seen: "open", "not seen": "open",
};
const verdictMark = (text) => make("span", { class: "verdict " + (LOOKS[text] ?? "") }, text);

/** A table in a box that scrolls, with a name for screen readers. */
const boxed = (name, kind, ...parts) => make("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": name }, make("table", { class: kind }, make("caption", { class: "unseen" }, name), ...parts));

/**
 * A table that sorts by its headings. Long tables are drawn in part until all rows are asked for.
 * Tables 1 and 2 also have `groups` of rows, which sort apart, `spans` above the headings, rows of our own models (`own`) and `shades` (% of green).
 */
function sortable({ label, rows: [heads, ...body], groups = [["", body.length]], spans, own = [], shades = [] }) {
  const empty = (text) => !text || text === "missing";
  const numeric = heads.map((_, column) => { const filled = body.map((row) => row[column]).filter((cell) => !empty(cell)); return spans ? column > 0 : filled.length > 0 && filled.every(isNumber); });
  const titles = heads.map((head) => head.replaceAll("_", " ") || "–");
  const groupOf = groups.flatMap(([, count], group) => Array(count).fill(group));
  const lines = body.map((cells, i) => ({ cells, group: groupOf[i], own: own[i], shades: shades[i] || [] }));
  let order = lines, sorted = -1, falling = false, limit = LIMIT, sought = "";
  const more = make("button", { onclick: () => { limit = Infinity; fill(); box.focus(); } });
  const seek = make("input", { type: "search", placeholder: "Filter rows", "aria-label": "Filter rows", oninput: () => { sought = seek.value.toLowerCase(); fill(); } });
  const ths = titles.map((title, column) => make("th", { scope: "col", class: numeric[column] ? "number" : undefined, "aria-sort": "none" }, make("button", { onclick: () => sort(column) }, title)));
  const above = spans && make("tr", { class: "spans" }, make("td"), ...spans.map(([text, count]) => (text ? make("th", { scope: "colgroup", colspan: count }, text) : make("td", { colspan: count }))));
  const box = boxed(label, spans && "paper", make("thead", {}, above, make("tr", {}, ...ths)));
  function cell(line, text, column) {
    if (spans && !column) return make("th", { scope: "row", dir: "auto" }, text);
    const shade = line.shades[column - 1];
    const kind = numeric[column] ? "number" : text.length > 60 ? "wide" : text.length < 28 ? "short" : "middle";
    const made = make("td", { "data-head": titles[column], dir: numeric[column] ? undefined : "auto", class: kind + (empty(text) ? " absent" : shade ? " shaded" : "") }, heads[column].endsWith("verdict") ? verdictMark(text) : text || "–");
    if (shade) made.style.setProperty("--shade", shade + "%");
    return made;
  }
  function fill() {
    const found = sought ? order.filter((line) => line.cells.some((text) => text.toLowerCase().includes(sought))) : order;
    const shown = found.slice(0, limit);
    const bodies = groups.map(([title], group) => {
      const part = shown.filter((line) => line.group === group);
      return make("tbody", {}, title && part.length ? make("tr", {}, make("th", { scope: "rowgroup", colspan: heads.length, dir: "auto" }, title)) : null,
        ...part.map((line) => make("tr", { class: line.own ? "own" : undefined }, ...line.cells.map((text, column) => cell(line, text, column)))));
    });
    box.querySelectorAll("tbody").forEach((one) => one.remove());
    box.firstChild.append(...bodies);
    more.hidden = found.length <= limit;
    more.textContent = `Show all ${number(found.length)} rows`;
  }
  function sort(column) {
    falling = sorted === column ? !falling : numeric[column];
    sorted = column;
    order = lines.slice().sort((a, b) => {
      const [x, y] = [a.cells[column], b.cells[column]];
      if (empty(x) || empty(y)) return empty(x) - empty(y);
      return (numeric[column] ? toNumber(x) - toNumber(y) : x.localeCompare(y, "en", { numeric: true })) * (falling ? -1 : 1);
    });
    ths.forEach((th, i) => th.setAttribute("aria-sort", i !== column ? "none" : falling ? "descending" : "ascending"));
    fill();
  }
  fill();
  return make("div", {}, make("div", { class: "bar" }, body.length > 20 ? seek : null, more), box);
}
function drawTable(shown) {
  const choose = (one) => { drawTable(one); address("tables", one.name); $("tables").querySelector("[aria-pressed=true]").focus(); };
  const chips = facts.tables.map((one) => make("button", { "aria-pressed": one === shown, onclick: () => choose(one) }, one.label));
  $("tables").replaceChildren(make("h2", { class: "unseen" }, "Tables"), make("div", { class: "chips", role: "group", "aria-label": "Table" }, ...chips), ...(shown ? [make("p", { class: "caption" }, shown.caption), sortable(shown)] : [make("p", {}, "This run shows no table.")]));
  drawn.add("tables");
}
function drawFigures() {
  const made = facts.figures.map((one, i) => make("figure", {}, make("img", { src: "data:image/png;base64," + $("figure-" + i).textContent, alt: one.caption || one.label, loading: "lazy" }), make("figcaption", {}, one.caption || one.label)));
  $("figures").replaceChildren(make("h2", { class: "unseen" }, "Figures"), ...(made.length ? made : [make("p", {}, "This run shows no figure.")]));
}
// ---- answer: made in Python, and only drawn here ----
function drawAnswer() {
  if (facts.runs) return drawRuns();
  const { note, comparison, claims } = facts.answer, [table1, table] = ["table1", "claims"].map((name) => facts.tables.find((one) => one.name === name));
  const parts = [make("h2", {}, "What this run says about the paper"), note ? make("p", { class: "notice", dir: "auto" }, note) : null];
  if (comparison) parts.push(...drawComparison(comparison));
  const reached = claims && claims[0].counts.some(([verdict, n]) => n && verdict !== "out of reach");
  const claimed = claims ? [make("h3", {}, "Claims"), ...claims.map(drawCounts)] : [];
  if (reached) parts.push(...claimed, sortable(table));
  if (table1) parts.push(make("h3", {}, table1.label), make("p", { class: "caption" }, table1.caption), sortable(table1));
  if (claims && !reached) parts.push(...claimed, make("details", {}, make("summary", {}, "Each claim, and why it is out of reach"), sortable(table)));
  if (!comparison && !claims && !table1) parts.push(make("p", {}, "This run has no comparison, no claims and no Table 1."));
  $("answer").replaceChildren(...parts.filter(Boolean));
}
function drawComparison({ lead, averages, reach, counts, absent, reasons }) {
  const parts = [make("p", { class: "lead" }, lead)];
  if (averages.length) parts.push(make("h3", {}, "Averages"), drawAverages(averages, reach),
    make("p", { class: "small" }, "Accuracies are in %. Differences are ours minus the published one, in points, with 95 % intervals. The line in the middle of each drawing is no difference, and the band is the margin. “Reproduced” means that two one-sided tests at 5 % place the difference inside the margin. They correspond to a 90 % interval, so the 95 % interval that is drawn may reach a little beyond the band."));
  if (counts.length) parts.push(make("h3", {}, "Averages and cells by verdict"), ...counts.map(drawCounts));
  if (reasons.length) parts.push(make("p", { class: "small" }, "Cells out of reach: " + reasons.map(([why, lines]) => `${why} (${number(lines)})`).join("; ") + "."));
  parts.push(...absent.map((sentence) => make("p", { class: "small" }, sentence)));
  parts.push(make("p", { class: "small" }, make("a", { href: "#tables/compare" }, "Compare each cell with the published one")));
  return parts;
}
function drawAverages(averages, reach) {
  const heads = facts.runs ? facts.runs.heads : ["Verdict", "Model", "Published row", "Ours", "Published", "Difference", "", "Why"];
  const two = ([value, interval]) => [make("span", {}, value || "–"), interval ? make("small", {}, interval) : null];
  const rows = averages.map((one) => [
    [verdictMark(one.verdict)], [one.label], [make("span", {}, one.published), make("small", {}, one.table)], two(one.ours), two(one.theirs), two(one.difference),
    [one.bar ? intervalBar(one.bar, reach, one.difference) : null], [one.why],
  ]);
  const kind = (i) => ["", "name", "name", "number", "number", "number", "drawn", "why"][i];
  return boxed("Averages", "plain averages",
    make("thead", {}, make("tr", {}, ...heads.map((head, i) => make("th", { scope: "col", class: kind(i) }, head || "Interval")))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, i) => make(i === 1 ? "th" : "td", { scope: i === 1 ? "row" : undefined, class: kind(i), "data-head": heads[i], dir: "auto" }, ...cell))))));
}
/** Draw a difference with its interval and the margin, in points. Half of the width stands for `reach`. */
function intervalBar({ difference, low, high, margin }, reach, [value, interval]) {
  const WIDTH = 180, HEIGHT = 22, x = (points) => WIDTH / 2 + (points / (reach || 1)) * (WIDTH / 2 - 5);
  const draw = (tag, attributes, ...children) => {
    const element = document.createElementNS("http://www.w3.org/2000/svg", tag);
    for (const [name, setting] of Object.entries(attributes)) element.setAttribute(name, setting);
    element.append(...children);
    return element;
  };
  const vertical = (name, points, top) => draw("line", { class: name, x1: x(points), x2: x(points), y1: top, y2: HEIGHT - top });
  const band = margin === undefined ? [] : [
    draw("rect", { class: "band", x: x(-margin), width: x(margin) - x(-margin), y: 0, height: HEIGHT }), vertical("edge", -margin, 0), vertical("edge", margin, 0)];
  const words = `difference ${value} points, 95 % interval ${interval}` + (margin === undefined ? "" : `, margin ${margin}`);
  return draw("svg", { class: "interval", viewBox: `0 0 ${WIDTH} ${HEIGHT}`, width: WIDTH, height: HEIGHT, role: "img", "aria-label": words }, ...band, vertical("zero", 0, 0),
    draw("line", { class: "range", x1: x(low), x2: x(high), y1: HEIGHT / 2, y2: HEIGHT / 2 }), vertical("range", low, 7), vertical("range", high, 7),
    draw("circle", { class: "point", cx: x(difference), cy: HEIGHT / 2, r: 4 }));
}
const drawCounts = ({ name, counts }) => make("p", { class: "counts" }, name + ": ",
  ...counts.flatMap(([verdict, lines]) => [make("span", { class: lines ? "" : "absent" }, make("b", {}, number(lines)), " ", lines ? verdictMark(verdict) : verdict), " "]));

function drawRuns() {
  const { title, about, averages, reach, counts, left, differs } = facts.runs;
  $("answer").replaceChildren(
    make("h2", {}, title),
    ...about.map((line) => make("p", { dir: "auto" }, line)),
    make("h3", {}, "Averages"), averages.length ? drawAverages(averages, reach) : make("p", {}, "No average could be compared."),
    make("p", { class: "small" }, "Accuracies are in %. Differences are in points, paired by question, with 95 % intervals. The line in the middle of each drawing is no difference, and the band is the margin. A verdict is about the second run and is corrected for all lines of its table."),
    make("h3", {}, "Single cells"), make("p", { class: "counts" }, ...counts.flatMap(([verdict, lines]) => [make("span", {}, make("b", {}, number(lines)), " ", verdictMark(verdict)), " "])),
    ...left.map((line) => make("p", { class: "small", dir: "auto" }, line)),
    make("h3", {}, "What differs between the runs"), differs.length > 1 ? sortable({ label: "What differs between the runs", rows: differs }) : make("p", {}, "The manifests record no difference."));
}

function drawRun() {
  const commits = [...new Set(facts.steps.slice(1).map((step) => step[1] + (step[2] === "yes" ? " (with edits)" : "")))];
  const seconds = facts.steps.slice(1).reduce((sum, step) => sum + Number(step[4]), 0);
  const entries = [
    ["Models", facts.models.map((one) => one.label).join(" · ")],
    ["Benchmarks", here.benchmarks.map((i) => facts.benchmarks[i].label).join(" · ")],
    ["Thinking", facts.settings.map(settingName).join(" · ")],
    ["Scored", `${number(scoredCount)} answers to ${number(questions.length)} questions, in ${number(N)} readings (one model on one question)`],
    ["Commit", commits.join(", ") || "unknown: there is no manifest"],
    ["Computing", facts.steps.length > 1 ? `${number(Math.round(seconds))} s in the steps below` : "unknown: there is no manifest"],
    ["Packages", Object.entries(facts.versions).map(([name, version]) => `${name} ${version}`).join(" · ") || "unknown: there is no manifest"],
  ];
  $("run").replaceChildren(
    make("h2", {}, "m1: test-time scaling for medical reasoning"),
    facts.remark ? make("p", { class: "notice" }, facts.remark) : "",
    make("dl", { class: "facts" }, ...entries.flatMap(([name, text]) => [make("dt", {}, name), make("dd", {}, text)])),
    make("h3", {}, "Steps"),
    make("p", { class: "caption" }, "The steps that made these results, from their manifests."),
    facts.steps.length > 1 ? sortable({ label: "Steps", rows: facts.steps }) : "",
  );
}

// ---- readings: columns and filters ----
let questions, sameNames, arrays = {}, places, N, scoredCount = 0, found = [], at = -1, here = {};
let first, last, falls, rises, haystack;
const partners = new Map(); // question and model of the first of two runs to the reading of the second
/** Whether a reading is the second run's. Such a reading is shown beside the first run's, not by itself. */
const isOther = (r) => facts.models[arrays.model[r]].of !== undefined;
/** The second run's reading beside one of the first run; -1 on a page of one run. */
const partner = (r) => partners.get(`${arrays.question[r]} ${arrays.model[r]}`) ?? -1;
const settingName = ([budget, forced]) => (forced ? `Wait ×${forced}` : budget ? number(budget) : "no thinking");
async function load() {
  const [asked, bytes, where] = await Promise.all([inflateJson("questions"), inflate("scored"), inflate("places")]);
  questions = asked.map(([benchmark, id, source, context, stem, options, answer]) => ({ benchmark, id, source, context, stem, options, answer }));
  let offset = 0;
  for (const [name, kind, length] of facts.layout) {
    arrays[name] = new { Uint32Array, Uint8Array }[kind](bytes, offset, length);
    offset += arrays[name].byteLength;
  }
  places = new Uint32Array(where);
  N = arrays.question.length;
  const benchmarkOf = new Map(facts.benchmarks.map((one, i) => [one.key, i])), sources = [...new Set(questions.map((q) => q.source))].sort();
  const sourceOf = new Map(sources.map((source, i) => [source, i]));
  for (const q of questions) { q.b = benchmarkOf.get(q.benchmark); q.s = sourceOf.get(q.source); }
  for (let r = 0; r < N; r++) if (isOther(r)) partners.set(`${arrays.question[r]} ${facts.models[arrays.model[r]].of}`, r);
  haystack = questions.map((q) => `${q.id} ${q.context || ""} ${q.stem} ${q.options.join(" ")}`.toLowerCase());
  here = { benchmarks: [...new Set(questions.map((q) => q.b))].sort((a, b) => a - b), sources };
  // Where each source is one benchmark, the two filters list the same names, so one of them is hidden.
  sameNames = [sources.length, here.benchmarks.length].every((count) => count === new Set(questions.map((q) => `${q.b} ${q.s}`)).size);
  $("source").parentElement.hidden = sameNames;
  // For each reading: its largest budget without forcing, and whether its verdict falls or rises from one setting to the next.
  last = new Int16Array(N).fill(-1); falls = new Uint8Array(N); rises = new Uint8Array(N);
  for (let r = 0; r < N; r++) {
    let before = -1;
    for (let s = 0; s < S; s++) {
      const state = arrays.state[r * S + s];
      if (!(state & THERE)) continue;
      scoredCount++;
      const correct = state & CORRECT;
      if (before >= 0 && before !== correct) (correct ? rises : falls)[r] = 1;
      before = correct;
      if (!facts.settings[s][1] || last[r] < 0) last[r] = s;
    }
  }
  if (arrays.opened) last = arrays.opened;
  const options = (id, names) => $(id).replaceChildren(...names.map(([value, name]) => make("option", { value }, name)));
  options("benchmark", [["", "all"], ...here.benchmarks.map((i) => [i, facts.benchmarks[i].label])]);
  options("model", [["", "all"], ...[...new Set(arrays.model)].filter((i) => facts.models[i].of === undefined).sort((a, b) => a - b).map((i) => [i, facts.models[i].label])]);
  options("source", [["", "all"], ...sources.map((source, i) => [i, source])]);
  options("setting", [["", facts.runs ? "as in the tables" : "largest budget"], ...facts.settings.map((setting, i) => [i, settingName(setting) + (setting[0] && !setting[1] ? " tokens" : "")])]);
  const verdictOf = (side) => (facts.runs ? `correct in ${facts.runs.names[side]}` : ["correct", "incorrect"][side]);
  options("verdict", [["", "any"], ["correct", verdictOf(0)], ["incorrect", verdictOf(1)], ["none", "no option matched"], ["cut", "thinking was cut"], ["ended", "thinking ended"]]);
  options("change", [["", "any"], ["flips", "verdict changes"], ["falls", "correct → incorrect"], ["rises", "incorrect → correct"], ["always", "always correct"], ["never", "always incorrect"]]);
  options("rule", [["", "any"], ...facts.rules.map((rule, i) => [i, rule])]);
  const kept = places.filter((value, i) => i % 2 === 0 && value !== NOWHERE).length;
  $("kept").hidden = kept === N;
  $("kept").textContent = `This page holds the thinking and answers of ${number(kept)} of ${number(N)} readings (limit: ${facts.megabytes} MB), and the verdicts of all. Readings whose verdict changes come first, then incorrect ones.`;
}

/** Find the readings that pass the filters, and count those that are correct at the chosen setting. */
function filter() {
  const began = performance.now();
  const chosen = (id) => ($(id).value === "" ? -1 : Number($(id).value));
  const [benchmark, model, source, setting, rule] = ["benchmark", "model", "source", "setting", "rule"].map(chosen);
  const verdict = $("verdict").value, change = $("change").value, sought = $("search").value.trim().toLowerCase();
  const asked = new Uint8Array(questions.length);
  for (let i = 0; i < asked.length; i++) {
    const q = questions[i];
    asked[i] = (benchmark < 0 || q.b === benchmark) && (source < 0 || q.s === source) && (!sought || haystack[i].includes(sought)) ? 1 : 0;
  }
  found = [];
  let correct = 0;
  for (let r = 0; r < N; r++) {
    if (!asked[arrays.question[r]] || isOther(r) || (model >= 0 && arrays.model[r] !== model)) continue;
    const s = r * S + (setting < 0 ? last[r] : setting), state = arrays.state[s];
    if (!(state & THERE) || (rule >= 0 && arrays.rule[s] !== rule)) continue;
    if (verdict === "correct" && !(state & CORRECT)) continue;
    if (verdict === "incorrect" && state & CORRECT) continue;
    if (verdict === "none" && arrays.letter[s]) continue;
    if (verdict === "cut" && state & ENDED) continue;
    if (verdict === "ended" && !(state & ENDED)) continue;
    const flips = falls[r] || rises[r];
    if ((change === "flips" && !flips) || (change === "falls" && !falls[r]) || (change === "rises" && !rises[r])) continue;
    if ((change === "always" && (flips || !(state & CORRECT))) || (change === "never" && (flips || state & CORRECT))) continue;
    found.push(r);
    if (state & CORRECT) correct++;
  }
  $("count").textContent = facts.runs
    ? `${number(found.length)} of ${number(N - partners.size)} answers that are correct in one run only` + (setting < 0 ? ` · correct in ${facts.runs.names[0]} ${number(correct)}, in ${facts.runs.names[1]} ${number(found.length - correct)}` : "")
    : `${number(found.length)} of ${number(N)} readings` + (found.length ? ` · ${number(correct)} correct (${((100 * correct) / found.length).toFixed(1)} %)` : "");
  const open = at >= 0 ? at : -1;
  $("list").scrollTop = Math.max(0, found.indexOf(open) - 2) * ROW;
  drawList();
  document.documentElement.dataset.filtered = performance.now() - began;
}

/** Draw the rows of the list that are in sight. */
function drawList() {
  const list = $("list"), space = $("space");
  space.style.height = found.length * ROW + "px";
  const from = Math.max(0, Math.floor(list.scrollTop / ROW) - 5), to = Math.min(found.length, Math.ceil((list.scrollTop + list.clientHeight) / ROW) + 5);
  const rows = [];
  for (let i = from; i < to; i++) rows.push(row(i));
  space.replaceChildren(...rows);
  const there = found.indexOf(at);
  if (there >= from && there < to) list.setAttribute("aria-activedescendant", "row-" + there);
  else list.removeAttribute("aria-activedescendant");
}
function row(i) {
  const r = found[i], q = questions[arrays.question[r]];
  const element = make("div", { class: "row", id: "row-" + i, role: "option", "aria-posinset": i + 1, "aria-setsize": found.length, "aria-selected": r === at, onclick: () => open(r).then(() => $("list").checkVisibility() || $("reading").focus()) },
    make("div", { class: "stem", dir: "auto" }, q.stem.slice(0, 300)),
    make("div", { class: "about" }, make("span", {}, `${facts.benchmarks[q.b].label} · ${facts.models[arrays.model[r]].label}`), make("span", { class: "pair" }, ...[r, partner(r)].filter((side) => side >= 0).map(strips))));
  element.style.top = i * ROW + "px";
  return element;
}
/** The verdicts of a reading as squares, in the order of the settings. */
function strips(r) {
  const strip = make("span", { class: "strip", role: "img", "aria-label": described(r) });
  let forced = 0;
  for (let s = 0; s < S; s++) {
    const state = arrays.state[r * S + s];
    if (!(state & THERE)) continue;
    strip.append(make("i", { class: "dot" + (state & CORRECT ? " correct" : "") + (facts.settings[s][1] && !forced ? " gap" : ""), title: `${settingName(facts.settings[s])}: ${state & CORRECT ? "correct" : "incorrect"}` }));
    forced = facts.settings[s][1];
  }
  return strip;
}
function described(r) {
  const verdicts = [];
  for (let s = 0; s < S; s++) if (arrays.state[r * S + s] & THERE) verdicts.push(`${settingName(facts.settings[s])} ${arrays.state[r * S + s] & CORRECT ? "correct" : "incorrect"}`);
  return verdicts.join(", ");
}
let waiting = 0;
$("list").onscroll = () => { if (!waiting) waiting = requestAnimationFrame(() => { waiting = 0; drawList(); }); };
addEventListener("resize", drawList);
$("filters").oninput = filter;
$("filters").onsubmit = (event) => event.preventDefault();
$("filters").onreset = () => setTimeout(filter);

// ---- one reading ----
const inflated = new Map();
async function textOf(r) {
  const block = places[2 * r];
  if (block === NOWHERE) return null;
  if (!inflated.has(block)) {
    if (inflated.size > 20) inflated.delete(inflated.keys().next().value);
    inflated.set(block, inflateJson("block-" + block));
  }
  return (await inflated.get(block))[places[2 * r + 1]];
}
let setting = -1; // the last chosen one, kept from reading to reading if the next one has it
const settingOf = (r, chosen) => (chosen >= 0 && arrays.state[r * S + chosen] & THERE ? chosen : last[r]);
async function open(r, chosen = setting) {
  if (isOther(r)) r = arrays.question.findIndex((question, i) => question === arrays.question[r] && arrays.model[i] === facts.models[arrays.model[r]].of);
  at = r;
  $("reader").classList.add("open");
  const s = settingOf(r, chosen), sides = [r, partner(r)].filter((side) => side >= 0);
  const texts = await Promise.all(sides.map(textOf));
  if (at !== r) return; // another reading was opened meanwhile
  drawReading(sides.map((side, i) => [side, settingOf(side, chosen), texts[i]]));
  const q = questions[arrays.question[r]];
  address("question", q.benchmark, q.id, facts.models[arrays.model[r]].model, ...facts.settings[s].map(String));
  const list = $("list"), top = found.indexOf(r) * ROW;
  if (top >= 0 && (top < list.scrollTop || top + ROW > list.scrollTop + list.clientHeight)) list.scrollTop = Math.max(0, top - list.clientHeight / 2);
  drawList();
}
function followQuestion(benchmark, id, model, budget, forced) {
  show("questions");
  const q = questions.findIndex((one) => one.benchmark === benchmark && one.id === id);
  const r = arrays.question.findIndex((value, i) => value === q && (!model || facts.models[arrays.model[i]].model === model));
  if (r < 0) return void $("reading").replaceChildren(make("p", { class: "empty" }, `This run has no question ${id} of ${benchmark}${model ? ` with model ${model}` : ""}.`));
  setting = facts.settings.findIndex(([b, f]) => b === Number(budget) && f === Number(forced));
  open(r);
}
function back() { $("reader").classList.remove("open"); drawList(); $("list").focus(); }
function step(by) {
  if (!found.length) return;
  const i = found.indexOf(at);
  open(found[Math.max(0, Math.min(found.length - 1, i < 0 ? 0 : i + by))]);
}
function stepSetting(by) {
  if (at < 0) return;
  const all = facts.settings.map((_, s) => s).filter((s) => arrays.state[at * S + s] & THERE);
  const now = all.indexOf(settingOf(at, setting));
  setting = all[Math.max(0, Math.min(all.length - 1, now + by))];
  open(at);
}
/** Draw a reading of one run, or the readings of two runs side by side, each with its setting and text. */
function drawReading(sides) {
  const [[r]] = sides, q = questions[arrays.question[r]], others = [];
  arrays.question.forEach((value, i) => { if (value === arrays.question[r] && !isOther(i)) others.push(i); });
  const parts = [
    make("div", { class: "top" },
      make("button", { id: "back", onclick: back }, "← List"),
      make("span", { class: "grow" }, [facts.benchmarks[q.b].label, sameNames ? "" : `source ${q.source}`, q.id].filter(Boolean).join(" · ")),
      make("button", { onclick: () => step(-1), title: "Previous (k)", "aria-label": "Previous reading" }, "↑"), make("button", { onclick: () => step(1), title: "Next (j)", "aria-label": "Next reading" }, "↓")),
    make("div", { class: "chips", role: "group", "aria-label": "Model" }, ...others.map((i) => make("button", { "aria-pressed": i === r, onclick: () => open(i) }, facts.models[arrays.model[i]].label))),
    q.context ? make("details", { class: "context" }, make("summary", {}, "Abstract"), make("div", { class: "model-text", dir: "auto" }, q.context)) : null,
    make("div", { class: "model-text stem-text", dir: "auto" }, q.stem),
    ...(sides.length === 1 ? side(...sides[0]) : [make("div", { class: "sides" }, ...sides.map((one, i) => make("section", {}, make("h2", {}, facts.runs.names[i]), ...side(...one))))]),
    make("p", { class: "small keys" }, make("kbd", {}, "j"), " ", make("kbd", {}, "k"), " next, previous reading · ", make("kbd", {}, "←"), " ", make("kbd", {}, "→"), " less, more thinking · ", make("kbd", {}, "/"), " search · the address in the browser links to this reading"),
  ];
  const same = $("reading").dataset.reading === String(r), top = $("reading").scrollTop;
  // Drawing anew removes the button that was pressed, so its successor takes the focus.
  const nameOf = (button) => button.getAttribute("aria-label") ?? button.textContent, focused = $("reading").contains(document.activeElement) && nameOf(document.activeElement);
  $("reading").replaceChildren(...parts.filter(Boolean));
  if (focused) ([...$("reading").querySelectorAll("button")].find((button) => nameOf(button) === focused) ?? $("reading")).focus({ preventScroll: true });
  $("reading").dataset.reading = r;
  $("reading").scrollTop = same ? top : 0;
}
/** What stands below the question: options, settings, thinking, answer and verdict of a reading. */
function side(r, s, text) {
  const q = questions[arrays.question[r]], cell = r * S + s, state = arrays.state[cell], correct = Boolean(state & CORRECT), letter = arrays.letter[cell];
  const budget = facts.settings[s][0];
  const options = q.options.map((option, i) => {
    const answer = i === q.answer, chosen = i === letter - 1;
    const tag = answer && chosen ? "correct answer, chosen" : answer ? "correct answer" : chosen ? "chosen" : "";
    return make("li", { class: (answer ? "answer " : "") + (chosen ? "chosen" : "") }, make("b", {}, LETTERS[i]), make("span", { class: "model-text", dir: "auto" }, option), make("span", { class: "tag " + (answer ? "good" : "bad") }, tag && (answer ? "✓ " : "✗ ") + tag));
  });
  const settings = facts.settings.map((one, i) => {
    const state = arrays.state[r * S + i];
    if (!(state & THERE)) return null;
    const l = arrays.letter[r * S + i], right = state & CORRECT, read = (l ? LETTERS[l - 1] : "–") + (right ? " ✓" : " ✗");
    return make("button", { class: right ? "correct" : "", "aria-pressed": i === s, "aria-label": `${settingName(one)} ${read} ${right ? "correct" : "incorrect"}`, onclick: () => { setting = i; open(r); } },
      make("small", {}, settingName(one)), " ", make("span", {}, read));
  });
  const given = text && text.answers[text.given[s]];
  const parts = [
    make("ol", { class: "options" }, ...options),
    make("h3", {}, budget ? "Thinking budget (tokens) and forced “Wait”" : "Answer"),
    make("div", { class: "settings", role: "group", "aria-label": "Thinking" }, ...settings.filter(Boolean)),
  ];
  if (budget) parts.push(make("h3", {}, `Thinking: ${number(arrays.tokens[cell])} tokens, ${state & ENDED ? "ended by itself" : "cut by the budget"}`), thinking(r, s, text));
  parts.push(make("h3", {}, "Answer"));
  if (!given) parts.push(make("p", { class: "small" }, `The text of this reading was left out (the page is limited to ${facts.megabytes} MB).`));
  else parts.push(make("div", { class: "box model-text", dir: "auto" }, given[0].trim() || "(empty)"));
  parts.push(make("dl", { class: "scored" },
    ...[["Verdict", make("span", { class: "verdict " + (correct ? "reproduced" : "differs") }, correct ? "correct" : "incorrect")],
      ["Read as", letter ? `${LETTERS[letter - 1]}. ${q.options[letter - 1]}` : "no option"],
      ["By rule", facts.rules[arrays.rule[cell]]],
      given ? ["Extracted", given[1]] : null]
      .filter(Boolean).flatMap(([name, value]) => [make("dt", {}, name), make("dd", { class: "model-text", dir: "auto" }, value)])));
  return parts;
}
/** The thinking of a setting, with ticks where smaller settings end. What only larger settings have follows in grey. */
function thinking(r, s, text) {
  if (!text) return make("p", { class: "small" }, `The text of this reading was left out (the page is limited to ${facts.megabytes} MB).`);
  if (!text.thinking.length) return make("p", { class: "small" }, "There is no thinking to show: this model has none here, or it is empty.");
  const [upTo, forcedUpTo] = text.shown[s], forced = facts.settings[s][1], ended = arrays.state[r * S + s] & ENDED;
  const box = make("div", { class: "box thinking model-text", dir: "auto", tabindex: 0, "aria-label": "Thinking" });
  const name = (i, f) => facts.settings.filter((one, t) => arrays.state[r * S + t] & THERE && Boolean(one[1]) === f && text.shown[t][f ? 1 : 0] === i + 1 && (f || !(arrays.state[r * S + t] & ENDED))).map((one) => (f ? "×" + one[1] : number(one[0]))).join(", ");
  const piece = (part, shown) => box.append(make("span", { class: shown ? "" : "after" }, part));
  const end = () => box.append(make("div", { class: "cut" + (ended ? " ended" : "") }, ended ? `ended by itself after ${number(arrays.tokens[r * S + s])} tokens` : `cut at ${number(arrays.tokens[r * S + s])} tokens`));
  text.thinking.forEach((part, i) => {
    piece(part, i < upTo);
    if (i + 1 === upTo && !forcedUpTo) end();
    else if (name(i, false)) box.append(make("span", { class: "tick" }, name(i, false)));
  });
  if (forced) text.forced.forEach((part, i) => {
    box.append(make("span", { class: "tick wait" }, `forced ${name(i, true)}`));
    piece(part, i < forcedUpTo);
    if (i + 1 === forcedUpTo) end();
  });
  return box;
}

addEventListener("keydown", (event) => {
  if ($("reader").hidden || event.ctrlKey || event.metaKey || event.altKey) return;
  const typing = event.target.closest("input, select, textarea");
  if (event.key === "Escape") { if (typing) event.target.blur(); else back(); return; }
  if (typing) return;
  const inList = event.target.id === "list";
  const act = { j: () => step(1), k: () => step(-1), ArrowRight: () => stepSetting(1), ArrowLeft: () => stepSetting(-1), "/": () => $("search").focus(),
    ...(inList ? { ArrowDown: () => step(1), ArrowUp: () => step(-1), Home: () => found.length && open(found[0]), End: () => found.length && open(found.at(-1)), PageDown: () => step(10), PageUp: () => step(-10) } : {}) }[event.key];
  if (act) { event.preventDefault(); act(); }
});

load().then(() => {
  filter();
  $("reading").replaceChildren(make("p", { class: "empty" }, "Choose a reading from the list. A reading is one model on one question."));
  follow();
  addEventListener("hashchange", () => { follow(); focusPanel(); });
  requestAnimationFrame(() => { document.documentElement.dataset.loaded = performance.now(); });
}, (error) => $("answer").replaceChildren(make("p", { class: "notice" }, `This page could not be read: ${error}`), ($("answer").hidden = false, "")));
