// Unpacks the data, decides what is shown, and goes from turn to turn.

const page = {
  columns: [], nodes: [], hues: [], colours: 1, isCompared: false, views: [], others: [], list: null,
  anchors: new Map(), current: null, side: 0, unit: "rounds",
};

async function unpacked() {
  const packed = JSON.parse(byId("data").textContent);
  const bytes = Uint8Array.from(atob(packed.data), (char) => char.charCodeAt(0));
  const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
  return JSON.parse(await new Response(stream).text());
}

function drawTurn(view) {
  const other = page.isCompared && view.other !== null ? page.others[view.other] : null;
  byId("turn").replaceChildren(...turnArticle(view, other, move));
}

function redraw() {
  if (page.current !== null) drawTurn(page.views[page.current]);
}

// Shows a turn by its place, or the overview for null.
function show(place, focus) {
  const isTurn = place !== null;
  const isAnother = page.current !== place;
  page.current = place;
  byId("overview").hidden = isTurn;
  byId("turn").hidden = !isTurn;
  document.body.dataset.view = "detail";
  if (isTurn) drawTurn(page.views[place]);
  if (isTurn && isAnother) {
    const view = page.views[place];
    byId("said").textContent =
      `Turn ${view.turn} of ${plain(view.conversation, 60)}, ${counted(madeOf(view), "call")}`;
  }
  page.list.mark(place);
  if (isAnother) scrollTo(0, 0);
  if (focus) byId(isTurn ? "turn-title" : "overview-title").focus({ preventScroll: true });
}

const hashOf = (place) => place === null ? "#overview" : `#${page.views[place].anchor}`;

function open(place, focus = false) {
  history.replaceState(null, "", hashOf(place));
  show(place, focus);
}

function move(steps) {
  const place = page.list.next(page.current, steps);
  if (place === null) return;
  const isInList = byId("turns").contains(document.activeElement);
  const isInTurn = byId("turn").contains(document.activeElement);
  const view = document.body.dataset.view;
  open(place, isInTurn);
  if (isInList) {
    document.body.dataset.view = view;
    page.list.rows[place].focus();
  }
}

function toList() {
  document.body.dataset.view = "list";
  const isListed = page.current !== null && !page.list.rows[page.current].hidden;
  const place = isListed ? page.current : page.list.places()[0];
  if (place === undefined) byId("find").focus();
  else page.list.rows[place].focus();
}

function route() {
  if (page.anchors.has(location.hash)) show(page.anchors.get(location.hash), true);
  else if (location.hash === "#overview") show(null, true);
}

function chosenRow(event) {
  const row = event.target.closest("a.row");
  if (!row || event.ctrlKey || event.metaKey || event.shiftKey) return;
  event.preventDefault();
  const place = page.list.rows.indexOf(row);
  history.pushState(null, "", hashOf(place));
  show(place, true);
}

// The turns of a run, with what all of them have in common.
function viewsOf(run) {
  return Object.assign(run.turns, { name: run.name, seconds: run.seconds, missing: run.missing });
}

function start(data) {
  page.columns = data.call_columns;
  page.nodes = data.nodes;
  page.hues = data.node_hues;
  page.colours = data.node_colours;
  page.isCompared = data.is_compared;
  texts.heap = data.texts.heap;
  texts.pieces = data.texts.texts;
  page.views = viewsOf(data.runs[0]);
  page.others = data.is_compared ? viewsOf(data.runs[1]) : [];
  page.views.forEach((view, place) => page.anchors.set(hashOf(place), place));
  page.list = turnList(page.views, () => page.list.mark(page.current), redraw);
  document.querySelectorAll(".ranking").forEach(makeSortable);
  const chart = callsChart(page.views, page.others, (place) => open(place, true));
  if (chart) byId("chart").append(chart);
  byId("rows").addEventListener("click", chosenRow);
  byId("to-list").addEventListener("click", toList);
  addEventListener("hashchange", route);
  addEventListener("popstate", route);
  listen(themes());
  byId("tools").hidden = false;
  byId("turns").hidden = page.views.length === 0;
  document.body.dataset.view = "detail";
  page.list.refresh();
  if (page.anchors.has(location.hash)) show(page.anchors.get(location.hash), false);
  document.body.classList.add("is-ready");
}

unpacked().then(start).catch((error) => {
  byId("trouble").textContent = "The turns cannot be shown: this browser cannot unpack them " +
    `(${plain(String(error.message || error), 200)}). The totals below are complete.`;
  byId("trouble").hidden = false;
});
