// The list of turns: search, filters, and moving about.

const FILTERS = [
  ["degraded", "Degraded", (view) => view.degraded.length + view.wound_down.length > 0],
  ["unreadable", "Unreadable", (view) => view.sums.unreadable > 0],
  ["above", "Above plan", (view) => view.above_plan !== ""],
  ["unserved", "Refused or failed", (view) =>
    view.sums.outcomes.some(([name]) => name === "refused" || name === "failed" || name === "cancelled")],
  ["differs", "Differs", (view) => Boolean(view.differences && view.differences.kinds.length)],
  ["alone", "Without a pair", (view) => page.isCompared && view.other === null],
];

function marksOf(view) {
  const marks = [];
  if (view.degraded.length) marks.push("degraded");
  if (view.wound_down.length) marks.push("wound down");
  if (view.sums.unreadable) marks.push("unreadable");
  if (view.above_plan) marks.push(view.above_plan === "worst" ? "above the worst" : "above plan");
  if (view.differences && view.differences.kinds.length) {
    const difference = view.differences.figures[0][3];
    marks.push(difference ? `differs ${signed(difference)}` : "differs");
  }
  if (page.isCompared && view.other === null) marks.push("no pair");
  return marks;
}

function rowOf(view) {
  const marks = marksOf(view);
  return el("a", { class: "row", href: `#${view.anchor}`, tabindex: "-1" },
    el("span", { class: "turn-number" }, el("span", { class: "unseen" }, "Turn "), String(view.turn)),
    el("span", { class: "snippet", dir: "auto" }, plain(view.user_text.trim() || "(nothing)", 90)),
    el("span", { class: "asked" }, String(view.sums.asked), el("span", { class: "unseen" }, " calls")),
    marks.length ? el("span", { class: "marks" }, marks.map((mark) => el("span", {}, mark))) : null);
}

function turnList(views, onFound) {
  const rows = views.map(rowOf);
  const groups = new Map();
  views.forEach((view, place) => {
    if (!groups.has(view.conversation)) {
      const title = el("h3", { dir: "auto" }, shown(view.conversation));
      groups.set(view.conversation, { box: el("section", {}, title), places: [] });
    }
    const group = groups.get(view.conversation);
    group.box.append(rows[place]);
    group.places.push(place);
  });
  byId("rows").append(...[...groups.values()].map((group) => group.box));

  const texts = views.map((view) =>
    `${view.conversation}\n${view.user_text}\n${view.reply}`.toLowerCase());
  const pressed = new Set();
  let visible = views.map((_, place) => place);

  function refresh() {
    const wanted = byId("find").value.trim().toLowerCase();
    const tests = FILTERS.filter(([name]) => pressed.has(name)).map(([, , test]) => test);
    visible = [];
    views.forEach((view, place) => {
      const fits = tests.every((test) => test(view)) && texts[place].includes(wanted);
      rows[place].hidden = !fits;
      if (fits) visible.push(place);
    });
    for (const group of groups.values()) {
      group.box.hidden = group.places.every((place) => rows[place].hidden);
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
    const after = visible.findIndex((place) => place >= current);
    const here = after < 0 ? visible.length : after;
    const isShown = visible[here] === current;
    const place = here + (steps > 0 && !isShown ? steps - 1 : steps);
    return visible[Math.min(visible.length - 1, Math.max(0, place))];
  }

  return { rows, refresh, mark, next, places: () => visible };
}
