// The list of turns: search, filters, order, and moving about.

const FILTERS = [
  ["degraded", "Degraded", (view) => view.degraded.length + view.wound_down.length > 0],
  ["unreadable", "Unreadable", (view) => view.sums.unreadable > 0],
  ["above", "Above plan", (view) => view.above_plan !== ""],
  ["unserved", "Refused or failed", (view) =>
    view.sums.outcomes.some(([name]) => name === "refused" || name === "failed" || name === "cancelled")],
  ["differs", "Differs", (view) => Boolean(view.differences && view.differences.kinds.length)],
  ["alone", "Without a pair", (view) => page.isCompared && view.other === null],
];

const MEASURES = [
  ["calls", (call) => Number(call.outcome !== "refused")],
  ["tokens", (call) => call.input_tokens + call.output_tokens],
  ["seconds", (call) => call.path_seconds || 0],
  ["USD", (call) => call.usd || 0],
];
const UNSERVED = ["failed", "refused", "cancelled"];

function troublesOf(view) {
  return view.degraded.length + view.wound_down.length + view.sums.unreadable + view.sums.repairs
    + view.sums.outcomes.filter(([name]) => UNSERVED.includes(name)).reduce((sum, [, count]) => sum + count, 0);
}

// Calls of a turn that no limit refused.
function madeOf(view) {
  const refused = view.sums.outcomes.find(([name]) => name === "refused");
  return view.sums.asked - (refused ? refused[1] : 0);
}

function callDifference(view) {
  return view.differences ? madeOf(view) - madeOf(page.others[view.other]) : 0;
}

function moreThanOther(difference, one) {
  if (!difference) return `as many ${one}s as ${plain(page.others.name)}`;
  return `${counted(Math.abs(difference), one)} ${difference > 0 ? "more" : "fewer"} than ${plain(page.others.name)}`;
}

function marksOf(view) {
  const marks = [];
  if (view.degraded.length) marks.push("degraded");
  if (view.wound_down.length) marks.push("wound down");
  if (view.sums.unreadable) marks.push("unreadable");
  if (view.above_plan) marks.push(view.above_plan === "worst" ? "above the worst" : "above plan");
  if (view.differences && view.differences.kinds.length) {
    const difference = callDifference(view);
    marks.push(difference ? moreThanOther(difference, "call") : "differs");
  }
  if (page.isCompared && view.other === null) marks.push("no pair");
  return marks;
}

function rowOf(view) {
  const marks = marksOf(view);
  return el("a", { class: "row", href: `#${view.anchor}`, tabindex: "-1" },
    el("span", { class: "turn-number" }, el("span", { class: "unseen" }, "Turn "), String(view.turn)),
    el("span", { class: "snippet", dir: "auto" }, plain(textOf(view.user_text).trim() || "(nothing)", 90)),
    el("span", { class: "asked" }, String(madeOf(view)), el("span", { class: "unseen" }, " calls")),
    el("span", { class: "marks" }, marks.map((mark) => el("span", {}, mark))));
}

// Orders of the list: [name, what a turn has of it, the greatest first].
function ordersOf(views) {
  const sumOf = (measure) => (view) => callsOf(view).reduce((sum, call) => sum + measure(call), 0);
  const orders = MEASURES.map(([name, measure]) => [name === "seconds" ? views.seconds : name, sumOf(measure)]);
  orders.push(["trouble", troublesOf]);
  if (page.isCompared) orders.push(["difference in calls", (view) => Math.abs(callDifference(view))]);
  return orders.map(([name, amount]) => [name, views.map(amount)]).filter(([, amounts]) => amounts.some(Boolean));
}

function fill(select, options) {
  select.append(...options.map(([value, title]) => {
    const option = el("option", {}, title);
    option.value = value;
    return option;
  }));
}

// The filter of calls: one node, one outcome, a least cost.
function callFilter(views, onChange) {
  const [node, outcome, measure, least] = ["of-node", "of-outcome", "of-measure", "of-least"].map(byId);
  const seen = (name) => {
    const column = page.columns.indexOf(name);
    return new Set(views.flatMap((view) => view.calls.map((row) => row[column])));
  };
  const nodes = seen("node");
  fill(node, [["", "any node"], ...page.nodes.map((name, place) => [String(place), name])
    .filter(([, name]) => nodes.has(name)).map(([place, name]) => [place, plain(name)])]);
  const unreadable = seen("is_unreadable").has(true) ? [["unreadable", "unreadable"]] : [];
  const repaired = [...seen("repair")].some(Boolean) ? [["repair", "repair"]] : [];
  fill(outcome, [["", "any outcome"], ...[...seen("outcome")].map((name) => [name, name]), ...unreadable, ...repaired]);
  fill(measure, MEASURES.slice(1).map(([name], place) =>
    [String(place + 1), name === "seconds" ? views.seconds : name]));
  for (const each of [node, outcome, measure, least]) each.addEventListener("input", onChange);

  function fits(call) {
    if (node.value && call.node !== page.nodes[Number(node.value)]) return false;
    if (outcome.value === "unreadable") { if (!call.is_unreadable) return false; }
    else if (outcome.value === "repair") { if (!call.repair) return false; }
    else if (outcome.value && call.outcome !== outcome.value) return false;
    return MEASURES[Number(measure.value)][1](call) >= (Number(least.value) || 0);
  }
  const isFiltered = () => Boolean(node.value || outcome.value || Number(least.value) > 0);
  return { fits, isFiltered };
}

// `onFilter` is called when other calls fit, after the list is drawn.
function turnList(views, onFound, onFilter) {
  const rows = views.map(rowOf);
  const conversations = new Map();
  views.forEach((view, place) => {
    if (!conversations.has(view.conversation)) conversations.set(view.conversation, []);
    conversations.get(view.conversation).push(place);
  });
  const texts = views.map((view) =>
    `${view.conversation}\n${textOf(view.user_text)}\n${textOf(view.reply)}`.toLowerCase());
  const orders = ordersOf(views);
  const pressed = new Set();
  let inOrder = views.map((_, place) => place);
  let visible = inOrder;
  const filter = callFilter(views, () => { refresh(); onFilter(); });

  fill(byId("order"), [["", "as they ran"], ...orders.map(([name], place) => [String(place), `most ${plain(name)} first`])]);

  // Puts the rows below their conversations, or all in one list from the worst.
  function arrange() {
    const chosen = byId("order").value;
    const lists = chosen === "" ? [...conversations] : [[`most ${orders[Number(chosen)][0]} first`, worstFirst(Number(chosen))]];
    inOrder = lists.flatMap(([, places]) => places);
    byId("rows").replaceChildren(...lists.map(([name, places]) => {
      const many = chosen !== "" && conversations.size > 1;
      return el("section", {}, el("h3", { dir: "auto" }, shown(name)), places.flatMap((place) =>
        many ? [el("p", { class: "of" }, shown(views[place].conversation)), rows[place]] : [rows[place]]));
    }));
  }

  function worstFirst(order) {
    const amounts = orders[order][1];
    return views.map((_, place) => place).sort((one, other) => amounts[other] - amounts[one] || one - other);
  }

  function refresh() {
    const wanted = byId("find").value.trim().toLowerCase();
    const tests = FILTERS.filter(([name]) => pressed.has(name)).map(([, , test]) => test);
    if (filter.isFiltered()) tests.push((view) => callsOf(view).some(filter.fits));
    visible = inOrder.filter((place) => {
      const fits = tests.every((test) => test(views[place])) && texts[place].includes(wanted);
      rows[place].hidden = !fits;
      const before = rows[place].previousElementSibling;
      if (before && before.className === "of") before.hidden = !fits;
      return fits;
    });
    for (const box of byId("rows").children) {
      box.hidden = [...box.querySelectorAll(".row")].every((row) => row.hidden);
    }
    byId("found").textContent = visible.length === views.length
      ? counted(views.length, "turn") : `${figure(visible.length)} of ${counted(views.length, "turn")}`;
    onFound();
  }

  for (const [name, title, test] of FILTERS) {
    const count = views.filter(test).length;
    if (!count) continue;
    const button = el("button", { type: "button", "aria-pressed": "false" }, title, " ", el("small", {}, figure(count)));
    button.addEventListener("click", () => {
      pressed.has(name) ? pressed.delete(name) : pressed.add(name);
      button.setAttribute("aria-pressed", String(pressed.has(name)));
      refresh();
    });
    byId("filters").append(button);
  }
  byId("find").addEventListener("input", refresh);
  byId("order").addEventListener("input", () => { arrange(); refresh(); });
  arrange();

  function mark(current) {
    const stop = visible.includes(current) ? current : visible[0];
    rows.forEach((row, place) => {
      row.tabIndex = place === stop ? 0 : -1;
      place === current ? row.setAttribute("aria-current", "true") : row.removeAttribute("aria-current");
    });
    if (rows[current]) rows[current].scrollIntoView({ block: "nearest" });
  }

  // The turn that is some steps away among those that are shown.
  function next(current, steps) {
    if (!visible.length) return null;
    if (current === null) return steps > 0 ? visible[0] : visible[visible.length - 1];
    const from = inOrder.indexOf(current);
    const after = visible.findIndex((place) => inOrder.indexOf(place) >= from);
    const here = after < 0 ? visible.length : after;
    const isShown = visible[here] === current;
    const place = here + (steps > 0 && !isShown ? steps - 1 : steps);
    return visible[Math.min(visible.length - 1, Math.max(0, place))];
  }

  return { rows, refresh, mark, next, places: () => visible, fits: filter.fits, isFiltered: filter.isFiltered };
}
