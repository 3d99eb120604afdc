// A search's tree as an outline: score, spread, strategy, text, and the judge's words.

const MAX_NODES_AT_ONCE = 300;

function rangeOf(nodes) {
  const values = nodes.flatMap((node) => node.score === undefined ? [] :
    [node.score - (node.sd || 0), node.score + (node.sd || 0)]);
  const least = Math.min(0, ...values);
  const most = Math.max(...values, 0);
  // Scores that are shares are held against 1, so that trees can be compared by eye.
  return least === 0 && most <= 1.2 ? [0, Math.max(1, most)] : [least, most === least ? least + 1 : most];
}

function scoreOf(node, range) {
  if (node.start) return el("span", { class: "score" }, "start");
  if (node.score === undefined) return el("span", { class: "score quiet" }, "not judged");
  const share = (value) => `${(100 * (value - range[0])) / (range[1] - range[0])}%`;
  const gauge = el("span", { class: "gauge", "aria-hidden": "true" });
  const fill = el("i", { class: "fill" });
  fill.style.width = share(node.score);
  gauge.append(fill);
  if (node.sd) {
    const spread = el("i", { class: "spread" });
    spread.style.left = share(Math.max(range[0], node.score - node.sd));
    spread.style.right = `calc(100% - ${share(Math.min(range[1], node.score + node.sd))})`;
    gauge.append(spread);
  }
  const said = node.score.toFixed(2) + (node.sd ? ` ±${node.sd.toFixed(2)}` : "");
  return el("span", { class: "score" }, el("b", {}, said), gauge);
}

function said(text, title) {
  return el("blockquote", { class: "judge", dir: "auto" },
    el("span", { class: "who" }, `${title}:`), " ", el("span", {}, shown(text)));
}

function nodeOf(node, range) {
  const known = [...(node.judged || []), ...(node.figures || [])];
  const kinds = ["node", node.best ? "is-best" : "", node.dropped ? "is-dropped" : ""];
  const item = el("li", { class: kinds.filter(Boolean).join(" "), "aria-level": String(node.depth + 1) },
    el("div", { class: "line" },
      scoreOf(node, range),
      node.tag ? el("span", { class: "tag", dir: "auto" }, shown(node.tag)) : null,
      node.best ? el("span", { class: "mark" }, "★ the answer") : null,
      node.dropped ? el("span", { class: "tag" }, "given up") : null),
    node.reply ? el("p", { class: "spoken", dir: "auto" }, shown(textOf(node.reply))) : null,
    node.words ? said(textOf(node.words), "judge") : null,
    known.length ? facts(known) : null);
  item.style.setProperty("--depth", String(Math.min(node.depth, 12)));
  return item;
}

function outline(nodes) {
  const range = rangeOf(nodes);
  const list = el("ol", { class: "tree" }, nodes.slice(0, MAX_NODES_AT_ONCE).map((node) => nodeOf(node, range)));
  if (nodes.length <= MAX_NODES_AT_ONCE) return list;
  const rest = nodes.length - MAX_NODES_AT_ONCE;
  const more = el("button", { type: "button" }, `Show ${counted(rest, "more candidate")}`);
  more.addEventListener("click", () => {
    list.append(...nodes.slice(MAX_NODES_AT_ONCE).map((node) => nodeOf(node, range)));
    more.remove();
  });
  return el("div", {}, list, more);
}

// What the judge said according to the recording, for turns whose own record holds no words.
function recordedWords(calls) {
  const spoken = calls.map((call, place) => ({ call, place })).filter(({ call }) => call.words);
  if (!spoken.length) return null;
  return el("div", {}, el("h4", {}, "The judge's words, as recorded"),
    spoken.map(({ call, place }) => said(textOf(call.words), `call ${place + 1}`)));
}

function searchPart(view, calls) {
  const search = view.search;
  const recorded = recordedWords(calls);
  if (!search) return recorded ? section("Judge", recorded) : null;
  const count = search.nodes.filter((node) => !node.start).length;
  const head = [search.stop ? words(search.stop) : "", count ? counted(count, "candidate") : ""];
  return section("Search",
    el("p", { class: "quiet" }, head.filter(Boolean).join(" · ")),
    search.facts.length ? facts(search.facts) : null,
    search.nodes.length ? outline(search.nodes) : null,
    search.raw ? el("details", {}, el("summary", {}, "A tree that could not be drawn, as it was recorded"),
      el("pre", { tabindex: "0" }, shown(search.raw))) : null,
    search.final_words ? said(search.final_words, "judge, of the answer") : null,
    search.final.length ? facts(search.final) : null,
    recorded);
}
