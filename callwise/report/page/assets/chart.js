// Calls of every turn in a row, by role: where a run was expensive.

const ROLES = ["main", "judge", "fast", "embed"];

function askedByRole(view) {
  const role = page.columns.indexOf("role");
  return ROLES.map((name) => view.calls.filter((row) => row[role] === name).length);
}

function plannedOf(views) {
  const row = views.flatMap((view) => view.plan).find((each) => each[0] === "asked");
  return row && typeof row[1] === "number" ? row[1] : null;
}

function callsChart(views, onChoose) {
  if (views.length < 2) return null;
  const counts = views.map(askedByRole);
  const planned = plannedOf(views);
  const most = Math.max(1, planned || 0, ...counts.map((each) => each.reduce((sum, one) => sum + one, 0)));
  const paths = ROLES.map(() => "");
  const gap = views.length > 120 ? 0 : 0.08;
  counts.forEach((each, place) => {
    let top = most;
    each.forEach((count, role) => {
      if (!count) return;
      paths[role] += `M${place + gap} ${top}v${-count}h${1 - 2 * gap}v${count}z`;
      top -= count;
    });
  });
  const picture = drawn("svg", { viewBox: `0 0 ${views.length} ${most}`, preserveAspectRatio: "none", class: "chart",
    role: "img", "aria-label": `Calls of each of ${views.length} turns, at most ${most}` });
  ROLES.forEach((role, place) => {
    if (paths[place]) picture.append(drawn("path", { d: paths[place], class: `role-${role}` }));
  });
  if (planned !== null) {
    picture.append(drawn("line", { class: "planned", x1: "0", x2: String(views.length), y1: String(most - planned),
      y2: String(most - planned), "vector-effect": "non-scaling-stroke" }));
  }
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width) * views.length);
    onChoose(Math.min(views.length - 1, Math.max(0, place)));
  });
  const used = ROLES.filter((_, place) => paths[place]);
  return el("section", { class: "part" }, el("h3", {}, "Calls of each turn"),
    el("div", { class: "chart-frame" }, el("span", { class: "chart-most", "aria-hidden": "true" }, figure(most)), picture),
    el("p", { class: "legend" },
      used.map((role) => el("span", {}, el("i", { class: `swatch role-${role}` }), role)),
      planned === null ? null : el("span", {}, el("i", { class: "swatch planned" }), `planned ${figure(planned)}`),
      el("span", { class: "quiet" }, "choose a column to read its turn")));
}
