// When each call of a turn was under way: nodes as lanes, rounds or path seconds as the axis.

// Rounds are recorded. Where a call starts in seconds is not: it waits for what ended in the
// round before, of its own node where there is such a call.
function placed(calls) {
  const spans = calls.map((call, place) => {
    const known = Number.isInteger(call.end_round);
    const end = known ? call.end_round : place + 1;
    const took = call.outcome === "refused" ? 0 : 1;
    return { call, place, from: Math.max(0, end - took), to: end, start: 0, end: 0 };
  });
  for (const span of [...spans].sort((a, b) => a.from - b.from || a.to - b.to || a.place - b.place)) {
    const before = spans.filter((each) => each.to === span.from && each.from < each.to && each !== span);
    const own = before.filter((each) => each.call.node === span.call.node);
    span.start = Math.max(0, ...(own.length ? own : before).map((each) => each.end));
    span.end = span.start + (span.call.path_seconds || 0);
  }
  return spans;
}

function stepOf(most) {
  for (let size = 0.1; ; size *= 10) {
    for (const step of [1, 2, 5]) if (most / (step * size) <= 8) return step * size;
  }
}

// Calls of one lane in as few rows as do not overlap.
function stacked(spans, ends) {
  const rows = [];
  for (const span of spans) {
    const [from, to] = ends(span);
    const row = rows.find((each) => each.until <= from + 1e-9) || { until: 0, spans: [] };
    if (!row.spans.length) rows.push(row);
    row.spans.push(span);
    row.until = Math.max(to, from);
  }
  return rows.map((row) => row.spans);
}

function barOf(span, ends, most, onChoose) {
  const { call, place } = span;
  const [from, to] = ends(span);
  const label = `call ${place + 1}: ${plain(call.node)}, ${call.role}, ${call.purpose}, ` +
    `${call.outcome}, ${figure(call.path_seconds)} ${call.is_virtual ? "virtual s" : "s"}`;
  const bar = el("span", { class: `bar ${nodeClass(call.node)} end-${call.outcome}`, title: label },
    el("span", {}, call.purpose));
  bar.style.left = `${(100 * from) / most}%`;
  bar.style.width = `${(100 * (to - from)) / most}%`;
  bar.addEventListener("click", () => onChoose(place));
  return bar;
}

function axisOf(most, unit) {
  const axis = el("div", { class: "axis", "aria-hidden": "true" });
  const step = unit === "rounds" ? Math.max(1, stepOf(most)) : stepOf(most);
  for (let at = 0; at <= most + 1e-9; at += step) {
    const tick = el("span", { class: at > 0.96 * most ? "tick is-last" : "tick" }, figure(Number(at.toPrecision(6))));
    tick.style.left = `${(100 * at) / most}%`;
    axis.append(tick);
  }
  return axis;
}

// Whether the name of a row's only call has room after its bar.
function isFree(row, ends, most) {
  return row.length === 1 && ends(row[0])[1] < 0.85 * most;
}

function lanesOf(spans, ends, most, onChoose) {
  const lanes = new Map();
  for (const span of spans) {
    if (!lanes.has(span.call.node)) lanes.set(span.call.node, []);
    lanes.get(span.call.node).push(span);
  }
  return [...lanes].map(([node, mine]) => el("div", { class: "lane" },
    el("div", { class: "lane-name", title: plain(node) }, shown(node)),
    el("div", { class: "tracks" }, stacked(mine, ends).map((row) =>
      el("div", { class: isFree(row, ends, most) ? "track is-free" : "track" }, row.map((span) => barOf(span, ends, most, onChoose)))))));
}

function legendOf(calls) {
  const ends = [...new Set(calls.map((call) => call.outcome))].filter((each) => each !== "served");
  return el("p", { class: "legend" },
    ends.map((end) => el("span", {}, el("i", { class: `swatch end-${end}` }), end)));
}

function timeline(view, calls, unit, seconds, onChoose) {
  if (!calls.length) return el("p", { class: "quiet" }, "This turn asked no call.");
  const spans = placed(calls);
  const isRounds = unit === "rounds";
  const ends = isRounds ? (span) => [span.from, span.to] : (span) => [span.start, span.end];
  const [replied, ended] = isRounds ? view.rounds : view.seconds;
  const most = Math.max(...spans.map((span) => ends(span)[1]), ended || 0) || 1;
  const plot = el("div", { class: "lanes" }, lanesOf(spans, ends, most, onChoose));
  const over = el("div", { class: "over", "aria-hidden": "true" });
  if (replied !== null && replied < most) {
    const line = el("span", { class: "replied" }, el("b", {}, "reply"));
    line.style.left = `${(100 * replied) / most}%`;
    over.append(line);
  }
  const label = `${counted(calls.length, "call")} in ${figure(view.rounds[1])} rounds and ` +
    `${figure(view.seconds[1])} ${seconds}; the table below lists them`;
  return el("div", { class: "timeline" },
    el("div", { class: "plot", role: "img", "aria-label": label }, plot, over, axisOf(most, unit)),
    legendOf(calls));
}
