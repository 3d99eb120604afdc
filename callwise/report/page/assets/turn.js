// One turn: the messages, what it cost, when, and how the search went; next to another run's.

const COLUMNS = [
  ["node", ""], ["role", ""], ["purpose", ""], ["outcome", ""], ["way", ""], ["attempts", "number"],
  ["requests", "number"], ["input_tokens", "number"], ["output_tokens", "number"],
  ["cached_tokens", "number"], ["usd", "number"], ["path_seconds", "number"],
  ["end_round", "number"],
];
const ALWAYS = new Set(["node", "role", "purpose", "outcome", "input_tokens", "output_tokens"]);
// Columns that are left out where every call has the usual value.
const USUAL = new Map([["attempts", 1], ["requests", 1]]);
const SHORT = new Map([["input_tokens", "in"], ["output_tokens", "out"], ["cached_tokens", "cached"],
  ["end_round", "round"]]);

function outcomeOf(call) {
  return [call.outcome, call.is_unreadable ? "unreadable" : "", call.repair ? `repair ${call.repair}` : ""]
    .filter(Boolean).join(", ");
}

function callsTable(views, view, calls) {
  const used = COLUMNS.filter(([name]) => ALWAYS.has(name) || calls.some((call) =>
    call[name] && call[name] !== USUAL.get(name)));
  const seconds = views.seconds;
  const titleOf = (name) => name === "path_seconds" ? seconds : SHORT.get(name) || words(name);
  const heads = [["call", "number"], ...used.map(([name, kind]) => [titleOf(name), kind])];
  const frame = table("Calls of this turn", heads, calls.map((call, place) => [
    place + 1,
    ...used.map(([name]) => {
      if (name === "purpose" && call.is_speculative) return `${call.purpose} (speculative)`;
      if (name === "outcome") return outcomeOf(call);
      return (name === "input_tokens" || name === "output_tokens") && call.unknown_usage ? null : call[name];
    }),
  ]));
  frame.classList.add("calls");
  const rows = frame.querySelectorAll("tbody tr");
  const width = String(used.length + 1);
  const openers = calls.map((call, place) => opener(rows[place], width, () => callDetail(views, view, calls, place)));
  calls.forEach((call, place) => {
    const isOut = page.list.isFiltered() && !page.list.fits(call);
    rows[place].className = `call end-${call.outcome}${isOut ? " is-out" : ""}`;
    rows[place].querySelectorAll("td").forEach((each, at) => { each.dataset.name = titleOf(used[at][0]); });
    const under = [["problem", call.error], ["problem mended", call.notes && `mended: ${call.notes}`]];
    rows[place].after(...under.filter(([, said]) => said).map(([kind, said]) =>
      el("tr", { class: kind }, el("td"), el("td", { colspan: String(used.length), dir: "auto" }, shown(said)))));
  });
  return { frame, rows, openers };
}

// Makes a call's row open and close what belongs to it, which is drawn when it is first opened.
function opener(row, width, detail) {
  const head = row.querySelector("th");
  const button = el("button", { type: "button", class: "opener", "aria-expanded": "false",
    "aria-label": `Call ${head.textContent}: prompt and answer` }, head.textContent);
  head.replaceChildren(button);
  let under = null;
  const toggle = (isOpen = !under || under.hidden) => {
    if (!under && isOpen) {
      under = el("tr", { class: "detail" }, el("td", { colspan: width }, detail()));
      let last = row;
      while (last.nextElementSibling && last.nextElementSibling.classList.contains("problem")) last = last.nextElementSibling;
      last.after(under);
    }
    if (under) under.hidden = !isOpen;
    button.setAttribute("aria-expanded", String(isOpen));
  };
  row.addEventListener("click", (event) => { if (!getSelection().toString() || event.target === button) toggle(); });
  return toggle;
}

function message(who, text, kind) {
  const long = text.length > 1500;
  return el("div", { class: `message ${kind}` },
    el("p", { class: "who" }, who),
    el("div", { class: long ? "spoken long" : "spoken", dir: "auto", tabindex: long ? "0" : null,
      role: long ? "region" : null, "aria-label": long ? who : null },
    text ? shown(text) : el("span", { class: "quiet" }, "(nothing)")));
}

function notes(view) {
  const lines = [
    ...view.degraded.map((note) => ["Went on without its call", ...note]),
    ...view.wound_down.map((note) => ["Given up for want of calls", ...note]),
  ];
  return lines.map(([what, title, ...rest]) => el("div", { class: "note" },
    el("b", {}, shown(title)), ` ${what.toLowerCase()}`,
    rest.length ? el("span", { class: "why" }, shown(rest.join(": "))) : null));
}

function tile(name, value, under = "") {
  return el("div", {}, el("dt", {}, name), el("dd", { class: value === "unknown" ? "unknown" : null }, value, under ? el("small", {}, under) : null));
}

function tiles(view, unit) {
  const { sums, rounds, seconds } = view;
  const ends = sums.outcomes.map(([name, count]) => `${figure(count)} ${name}`).join(", ");
  const unknown = sums.unknown_usage ? `unknown for ${counted(sums.unknown_usage, "request")}` : "";
  return el("dl", { class: "tiles" },
    tile("calls", figure(sums.asked), ends),
    tile("unreadable", figure(sums.unreadable), counted(sums.repairs, "repair")),
    tile("requests", figure(sums.requests), sums.attempts === sums.requests ? "" : counted(sums.attempts, "attempt")),
    tile("tokens in", figure(sums.input_tokens), unknown),
    tile("tokens out", figure(sums.output_tokens)),
    tile("USD", figure(sums.usd)),
    tile("rounds", figure(rounds[0]), rounds[1] === rounds[0] ? "to the reply" : `to the reply, ${figure(rounds[1])} in all`),
    tile(unit, figure(seconds[0]), seconds[1] === seconds[0] ? "to the reply" : `to the reply, ${figure(seconds[1])} in all`));
}

function choice(label, options, current, onChoose) {
  return el("div", { class: "choice", role: "group", "aria-label": label }, options.map(([name, title]) => {
    const button = el("button", { type: "button", "aria-pressed": String(name === current) }, title);
    button.addEventListener("click", () => onChoose(name));
    return button;
  }));
}

function callParts(views, view) {
  const calls = callsOf(view);
  const { frame, rows, openers } = callsTable(views, view, calls);
  const toCall = (place) => {
    openers[place](true);
    rows.forEach((row, each) => row.classList.toggle("is-chosen", each === place));
    rows[place].scrollIntoView({ block: "center" });
  };
  const holder = el("div");
  const draw = () => holder.replaceChildren(
    choice("Axis", [["rounds", "Rounds"], ["seconds", `Path ${views.seconds}`]], page.unit, (unit) => {
      page.unit = unit;
      draw();
    }),
    timeline(view, calls, page.unit, views.seconds, toCall),
    page.unit === "seconds" ? el("p", { class: "quiet" },
      "Durations are recorded; where a call starts follows from the rounds.") : "");
  draw();
  const fitting = page.list.isFiltered() ? calls.filter(page.list.fits).length : calls.length;
  const hint = fitting < calls.length ? `${figure(fitting)} of ${counted(calls.length, "call")} fit the filter; the others are pale. `
    : "";
  return [
    section("Timeline", holder),
    section("Calls", el("p", { class: "quiet" }, `${hint}Open a call to read its prompt and its answer.`),
      calls.length ? frame : el("p", { class: "quiet" }, "none")),
    searchPart(view, calls),
  ];
}

function planPart(view) {
  if (!view.plan.length) return null;
  const rows = view.plan.filter((row) => row[1] || row[2] || row[3]).map(([name, planned, worst, actual]) => [
    name, planned, actual,
    typeof planned === "number" && typeof actual === "number" ? actual - planned : null, worst,
  ]);
  return section("Plan and actual", table("Plan and actual of this turn",
    [["figure", ""], ["planned", "number"], ["actual", "number"], ["difference", "difference"], ["planned worst", "number"]], rows));
}

function comparedPart(view) {
  if (!view.differences) return null;
  const sides = [["this run", "number"], ["other run", "number"], ["difference", "difference"]];
  const { kinds, figures, nodes } = view.differences;
  const named = figures.map(([name, ...rest]) => [words(name).replace("seconds", page.views.seconds), ...rest]);
  const isPriced = nodes.some((row) => row[7] || row[8]);
  const trios = ["calls", "tokens", ...(isPriced ? ["usd"] : [])];
  const groups = [["node", ""], ...trios.flatMap((what) => [[what, "number"], ["other", "number"], ["±", "difference"]])];
  const calls = moreThanOther(callDifference(view), "call");
  return section("Next to the other run",
    el("p", {}, el("b", {}, `This turn: ${calls}`), nodes.filter((row) => row[3]).map((row) =>
      [", ", shown(row[0]), ` ${figure(Math.abs(row[3]))} ${row[3] > 0 ? "more" : "fewer"}`]).flat(), "."),
    el("p", { class: "quiet" }, kinds.length ? `Differs in ${kinds.join(", ")}.` : "No difference."),
    el("div", { class: "tables" },
      table("Figures of both runs", [["figure", ""], ...sides], named),
      table("Nodes of both runs", groups, nodes.map((row) => row.slice(0, groups.length)))));
}

function talk(view, other) {
  const mine = [message("User", textOf(view.user_text), "user")];
  if (!page.isCompared) return [...mine, message("Reply", textOf(view.reply), "reply")];
  const asked = other && textOf(other.user_text);
  if (other && asked !== textOf(view.user_text)) mine.push(message("User, in the other run", asked, "user"));
  return [...mine, el("div", { class: "beside" },
    message("Reply, this run", textOf(view.reply), "reply"),
    other ? message("Reply, other run", textOf(other.reply), "reply other")
      : el("p", { class: "quiet" }, "The other run has no such turn."))];
}

function turnArticle(view, other, go) {
  const previous = el("button", { type: "button", "aria-label": "Previous turn" }, "‹");
  const next = el("button", { type: "button", "aria-label": "Next turn" }, "›");
  previous.addEventListener("click", () => go(-1));
  next.addEventListener("click", () => go(1));
  const title = el("h2", { tabindex: "-1", id: "turn-title" }, "Turn ", String(view.turn),
    el("small", { dir: "auto" }, shown(view.conversation), view.time ? ` · ${plain(view.time)}` : ""));
  const isOther = Boolean(other) && page.side === 1;
  const chosen = isOther ? other : view;
  const views = isOther ? page.others : page.views;
  const sides = other ? choice("Calls, timeline and search of", [[0, "This run"], [1, "Other run"]], page.side, (side) => {
    page.side = side;
    redraw();
  }) : null;
  return [
    el("div", { class: "turn-head" }, title, el("div", { class: "steps" },
      el("a", { href: `#${view.anchor}`, class: "link", "aria-label": "Link to this turn" }, "#"), previous, next)),
    el("section", { class: "talk", "aria-label": "Conversation" }, talk(view, other)),
    comparedPart(view),
    sides ? el("div", { class: "side" }, sides) : null,
    ...notes(chosen),
    tiles(chosen, views.seconds),
    ...callParts(views, chosen),
    planPart(chosen),
    chosen.facts.length ? section("Other facts of the turn", facts(chosen.facts)) : null,
  ].filter(Boolean);
}
