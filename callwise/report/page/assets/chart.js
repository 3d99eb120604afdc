// Calls of every turn in a row, by node, of one run or of both on one scale; and sorted tables.

// The place of a node's colour: the dearest have one each, in the order of asking, and their own
// hue, as in figures; the others share the last.
function colourOf(name) {
  const place = page.nodes.indexOf(name);
  return place < 0 || page.hues[place] === page.colours - 1 ? page.colours - 1 : place;
}

function hueClass(colour) {
  return `node-${page.hues[colour] ?? page.colours - 1}`;
}

function nodeClass(name) {
  return hueClass(colourOf(name));
}

function askedByColour(view) {
  const node = page.columns.indexOf("node");
  const counts = Array(page.colours).fill(0);
  const outcome = page.columns.indexOf("outcome");
  for (const row of view ? view.calls : []) {
    if (row[outcome] !== "refused") counts[colourOf(row[node])] += 1;
  }
  return counts;
}

function plannedOf(views) {
  const row = views.flatMap((view) => view.plan).find((each) => each[0] === "asked");
  return row && typeof row[1] === "number" ? row[1] : null;
}

function columnsOf(counts, most) {
  const paths = Array(page.colours).fill("");
  const gap = counts.length > 120 ? 0 : 0.08;
  counts.forEach((each, place) => {
    let top = most;
    each.forEach((count, colour) => {
      if (!count) return;
      paths[colour] += `M${place + gap} ${top}v${-count}h${1 - 2 * gap}v${count}z`;
      top -= count;
    });
  });
  return paths;
}

function chartOf(title, counts, most, planned, onChoose) {
  const size = counts.length;
  const picture = drawn("svg", { viewBox: `0 0 ${size} ${most}`, preserveAspectRatio: "none", class: "chart",
    role: "img", "aria-label": `${title}: calls of each of ${size} turns, at most ${most}` });
  columnsOf(counts, most).forEach((path, colour) => {
    if (path) picture.append(drawn("path", { d: path, class: hueClass(colour) }));
  });
  if (planned !== null) {
    picture.append(drawn("line", { class: "planned", x1: "0", x2: String(size), y1: String(most - planned),
      y2: String(most - planned), "vector-effect": "non-scaling-stroke" }));
  }
  picture.addEventListener("click", (event) => {
    const box = picture.getBoundingClientRect();
    const place = Math.floor(((event.clientX - box.left) / box.width) * size);
    onChoose(Math.min(size - 1, Math.max(0, place)));
  });
  return el("div", { class: "chart-frame" },
    el("span", { class: "chart-most", "aria-hidden": "true" }, figure(most)), picture);
}

function chartLegend(counts, planned) {
  const isUsed = (colour) => counts.some((each) => each[colour]);
  const last = page.colours - 1;
  const rest = page.nodes.length - last;
  const nameOf = (colour) => colour === last && rest > 1 ? `${rest} other nodes` : shown(page.nodes[colour] || "-");
  return el("p", { class: "legend" },
    [...Array(page.colours).keys()].filter(isUsed).map((colour) =>
      el("span", {}, el("i", { class: `swatch ${hueClass(colour)}` }), nameOf(colour))),
    planned === null ? null : el("span", {}, el("i", { class: "swatch planned" }), `planned ${figure(planned)}`),
    el("span", { class: "quiet" }, "choose a column to read its turn"));
}

function callsChart(views, others, onChoose) {
  if (views.length < 2) return null;
  const sides = [[`This run, ${plain(views.name)}`, views.map(askedByColour)]];
  if (page.isCompared) {
    sides.push([plain(others.name), views.map((view) => askedByColour(view.other === null ? null : others[view.other]))]);
  }
  const counts = sides.flatMap(([, each]) => each);
  const planned = page.isCompared ? null : plannedOf(views);
  const most = Math.max(1, planned || 0, ...counts.map((each) => each.reduce((sum, one) => sum + one, 0)));
  return el("section", { class: "part" }, el("h3", {}, page.isCompared ? "Calls of each turn, both runs on one scale" : "Calls of each turn"),
    sides.map(([title, each]) => [
      page.isCompared ? el("p", { class: "chart-name" }, title) : null,
      chartOf(title, each, most, planned, onChoose),
    ]).flat(),
    chartLegend(counts, planned));
}

// Sorts the rows of a ranked table by a column, the greatest amount first.
function sortBy(body, column, isLeastFirst) {
  const valueOf = (row) => {
    const value = row.children[column].dataset.value;
    return value === undefined ? (isLeastFirst ? Infinity : -Infinity) : Number(value);
  };
  const rows = [...body.rows].sort((one, other) => isLeastFirst ? valueOf(one) - valueOf(other) : valueOf(other) - valueOf(one));
  body.append(...rows);
}

function makeSortable(frame) {
  const heads = [...frame.querySelectorAll("thead th")];
  const body = frame.querySelector("tbody");
  heads.forEach((head, column) => {
    if (!body.querySelector(`td:nth-child(${column + 1})[data-value]`)) return;
    const button = el("button", { type: "button", class: "sorter" }, head.textContent);
    head.replaceChildren(button);
    button.addEventListener("click", () => {
      const isLeastFirst = head.getAttribute("aria-sort") === "descending";
      heads.forEach((each) => each.removeAttribute("aria-sort"));
      head.setAttribute("aria-sort", isLeastFirst ? "ascending" : "descending");
      sortBy(body, column, isLeastFirst);
    });
  });
}
