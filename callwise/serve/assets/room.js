// The chat as it comes: a websocket, a queue that slow motion stretches, and of each reply the cost
// and the tree of its calls.

const MAX_SHOWN = 500;
const MAX_FAILURES = 6;
const LEAST_GAP = 0.15; // seconds between two events that slow motion stretches
const ACK_SECONDS = 1;
const agents = new Map();
const costs = new Map(); // element of the cost of each message that is shown
let token = "";
let socket = null;
let last = 0; // number of the last line that came
let shownLast = 0; // and of the last that is shown
let acknowledged = 0;
let seenBefore = 0; // what was shown when the page was loaded the last time
let queuedRequest = 0;
let newestShown = 0; // number of the newest request that is shown
let failures = 0;
let shownWakes = [];
let waiting = [];
let timer = null;

function trouble(text) {
  const place = byId("trouble");
  place.replaceChildren(...(text ? shown(text) : []));
  place.hidden = !text;
}

function state(text) {
  byId("state").replaceChildren(...shown(text));
}

function clock(seconds) {
  return new Date(seconds * 1000).toISOString().slice(11, 19);
}

function usd(value) {
  return value === null ? "cost unknown" : figure(value) + " USD";
}

function time(seconds) {
  return seconds < 0.1 ? figure(Number((seconds * 1000).toPrecision(2))) + " ms"
    : figure(Number(seconds.toPrecision(3))) + " s";
}

function nameOf(node) {
  const agent = node.startsWith("agent:") ? agents.get(node.slice(6)) : undefined;
  return agent ? agent.name : node;
}

function costText(cost) {
  const request = cost.batch_size > 1
    ? "in a request with " + counted(cost.batch_size - 1, "other")
    : counted(cost.requests, "request");
  const parts = [
    counted(cost.calls, "call"), request,
    counted(cost.input_tokens + cost.output_tokens, "token"), usd(cost.usd), cost.model,
  ];
  if (cost.failed) parts.push(counted(cost.failed, "failure"));
  return parts.join(" · ");
}

function callText(call) {
  const shared = call.batch_size > 1 ? " with " + counted(call.batch_size - 1, "other") : "";
  const parts = [call.model, call.requests || shared ? "request #" + call.request + shared : "no request"];
  if (call.outcome !== "served") parts.push(call.outcome);
  parts.push(counted(call.tokens, "token"), usd(call.usd), time(call.seconds));
  if (call.error) parts.push(call.error);
  return parts.join(" · ");
}

// Branches of calls by the nodes that they were asked in, each node once.
function branches(calls, depth = 0) {
  const inner = new Map();
  const items = [];
  for (const call of calls) {
    if (call.nodes.length <= depth) {
      items.push(el("li", { class: call.error ? "failed" : null }, ...shown(callText(call))));
    } else {
      const name = call.nodes[depth];
      inner.set(name, [...(inner.get(name) || []), call]);
    }
  }
  for (const [name, within] of inner) {
    items.push(el("li", {}, el("span", { class: "node" }, ...shown(nameOf(name))), branches(within, depth + 1)));
  }
  return el("ul", {}, ...items);
}

function treeOf(cost) {
  const root = cost.turn === "say" ? "message that addressed the agent" : "wake";
  const tree = branches([...cost.calls_of_turn, ...cost.calls_of_reply]);
  if (cost.calls_left_out) {
    tree.append(el("li", {}, "and " + counted(cost.calls_left_out, "further call")));
  }
  return el("div", { class: "tree" }, el("span", { class: "node" }, root), tree);
}

function costOf(cost) {
  return el("details", { class: "cost" }, el("summary", {}, ...shown(costText(cost))), treeOf(cost));
}

function showLateCosts(late) {
  for (const [id, cost] of Object.entries(late)) {
    const place = costs.get(id);
    if (!place || !cost) continue;
    const changed = costOf(cost);
    changed.open = place.open;
    place.replaceWith(changed);
    costs.set(id, changed);
  }
}

function showMessage(event) {
  const agent = agents.get(event.author);
  const name = agent ? agent.name : event.author;
  const cost = event.cost ? costOf(event.cost) : null;
  const isFirstNew = seenBefore > 0 && shownLast <= seenBefore && event.sequence > seenBefore;
  const item = el(
    "li", { class: "message new" + (agent ? " reply" : "") },
    isFirstNew ? el("p", { class: "since" }, "new since this page was loaded before") : null,
    el("p", { class: "who" }, ...shown(name), " · " + clock(event.at) + " UTC"),
    el("p", { class: "text", dir: "auto" }, ...shown(event.text)),
    cost,
  );
  item.dataset.id = event.id;
  if (cost) costs.set(event.id, cost);
  shownLast = event.sequence;
  const chat = byId("chat");
  const end = chat.getBoundingClientRect().bottom;
  const isAtEnd = end > 0 && end < window.innerHeight + 120;
  chat.append(item);
  while (chat.childElementCount > MAX_SHOWN) {
    costs.delete(chat.firstElementChild.dataset.id);
    chat.firstElementChild.remove();
  }
  if (isAtEnd) item.scrollIntoView({ block: "end" });
}

function requestParts(each) {
  const kind = each.batch_size > 1 ? counted(each.calls, "reply", "replies")
    : each.for.startsWith("agent:") ? "reply of " + nameOf(each.for) : each.for;
  return ["#" + each.number + " " + kind, [
    each.model, counted(each.input_tokens + each.output_tokens, "token"), usd(each.usd),
    time(each.seconds),
  ].join(" · ")];
}

function wakeParts(each) {
  const ends = Object.entries(each.outcomes).map(([name, count]) => count + " " + name);
  const kind = each.is_message ? "message " + clock(each.at) : "hour " + clock(each.at).slice(0, 5);
  return [
    kind + " · " + counted(each.calls, "call") + " in " + counted(each.requests, "request"),
    ["intent " + each.intent, ends.join(", ") || "none woken", counted(each.tokens, "token"), usd(each.usd)]
      .join(" · "),
  ];
}

function entry(parts, attributes, ...more) {
  return el("li", attributes, el("p", {}, ...shown(parts[0])),
    el("p", { class: "more" }, ...shown(parts[1])), ...more);
}

function listed(place, items) {
  byId(place).replaceChildren(...items);
}

function showStatus(event) {
  if (!event.state) return;
  const parts = [event.state, counted(event.clients, "client")];
  if (event.under_way) parts.push(counted(event.under_way, "call") + " under way");
  state(parts.join(" · "));
  const totals = event.totals;
  const tile = (name, value) => el("div", {}, el("dt", {}, name), el("dd", {}, value));
  listed("totals", [
    tile("calls", figure(totals.calls)), tile("requests", figure(totals.requests)),
    tile("tokens", figure(totals.tokens)), tile("USD", figure(totals.usd)),
  ]);
  const requests = event.requests.toReversed().map((each) => entry(requestParts(each), {
    class: each.failed ? "failed" : each.number > newestShown ? "new" : null,
  }));
  newestShown = Math.max(newestShown, ...event.requests.map((each) => each.number));
  if (event.under_way) {
    requests.unshift(el("li", { class: "going" }, counted(event.under_way, "call") + " under way"));
  }
  listed("requests", requests);
  listed("wakes", event.wakes.toReversed().map((each) => entry(
    wakeParts(each), {},
    ...each.failures.map((one) => el("p", { class: "failed" }, ...shown(one.agent + ": " + one.reason))))));
  showLateCosts(event.late_costs);
}

// Slow motion: events are shown in their order, each later than the one before by its own gap,
// stretched; each request is an event. Without it they are shown as they come.

function show(event) {
  if (event.type === "message") showMessage(event);
  else showStatus(event);
}

function pace() {
  return Number(byId("pace").value);
}

function showNext() {
  timer = null;
  if (!waiting.length) return;
  const [event, came] = waiting.shift();
  show(event);
  if (pace() === 1) {
    for (const [each] of waiting.splice(0)) show(each);
  } else if (waiting.length) {
    const gap = Math.max(LEAST_GAP, Math.min((waiting[0][1] - came) / 1000, 60));
    timer = setTimeout(showNext, gap * pace() * 1000);
  }
}

function queue(event) {
  const came = performance.now();
  if (event.type === "status" && event.requests) {
    // A server that was started again counts from 1.
    if ((event.requests.at(-1)?.number ?? 0) < queuedRequest) queuedRequest = newestShown = 0;
    const fresh = event.requests.filter((each) => each.number > queuedRequest);
    for (const one of pace() === 1 ? [] : fresh.slice(0, -1)) {
      const until = event.requests.filter((each) => each.number <= one.number);
      waiting.push([{ ...event, requests: until, wakes: shownWakes }, came]);
    }
    if (fresh.length) queuedRequest = fresh.at(-1).number;
    shownWakes = event.wakes;
  }
  waiting.push([event, came]);
  if (timer === null) {
    if (pace() === 1) showNext();
    else timer = setTimeout(showNext, LEAST_GAP * pace() * 1000);
  }
}

// The connection.

function begin(event) {
  failures = 0;
  agents.clear();
  for (const each of event.agents) agents.set(each.id, each);
  if (!last) seenBefore = event.acknowledged;
  acknowledged = event.acknowledged;
  byId("title").replaceChildren(...shown("Chat " + event.room));
  byId("simulated").hidden = !event.simulated;
  for (const name of ["send", "wake"]) byId(name).disabled = false;
  byId("enter").hidden = true;
  trouble("");
  state("connected");
  document.body.classList.add("is-ready");
}

function receive(event) {
  if (event.type === "hello") begin(event);
  else if (event.type === "error") trouble(event.error);
  else if (event.type === "said") trouble("");
  else if (event.type === "status") queue(event);
  else if (event.type === "message" && event.sequence > last) {
    last = event.sequence;
    queue(event);
  }
}

function ended(code, reason) {
  socket = null;
  for (const name of ["send", "wake"]) byId(name).disabled = true;
  state("not connected");
  if (code === 4401) {
    sessionStorage.removeItem("callwise-token");
    byId("enter").hidden = false;
    trouble(reason);
    return;
  }
  if (code === 4409) { // it is another chat
    last = shownLast = seenBefore = 0;
    waiting = [];
    costs.clear();
    byId("chat").replaceChildren();
  }
  failures += 1;
  if (failures > MAX_FAILURES) {
    trouble((reason || "the connection has ended") + ". Load the page again to go on.");
    return;
  }
  trouble("Connecting again: " + (reason || "the connection has ended"));
  setTimeout(connect, 250 * 2 ** failures);
}

function connect() {
  const scheme = location.protocol === "https:" ? "wss://" : "ws://";
  socket = new WebSocket(scheme + location.host + "/socket");
  socket.addEventListener("open", () => {
    socket.send(JSON.stringify({ type: "hello", token, client, after: last, newest: MAX_SHOWN }));
  });
  socket.addEventListener("message", (message) => receive(JSON.parse(message.data)));
  socket.addEventListener("close", (event) => ended(event.code, event.reason));
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return "page-" + Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

// What is shown is acknowledged, so that the page can say after a reload what is new.
setInterval(() => {
  if (socket === null || socket.readyState !== WebSocket.OPEN || shownLast <= acknowledged) return;
  acknowledged = shownLast;
  socket.send(JSON.stringify({ type: "ack", sequence: shownLast }));
}, ACK_SECONDS * 1000);

byId("say").addEventListener("submit", (event) => {
  event.preventDefault();
  const text = byId("text").value;
  if (socket === null || !text.trim()) return;
  socket.send(JSON.stringify({ type: "say", id: randomId(), author: byId("author").value, text }));
  byId("text").value = "";
});

byId("wake").addEventListener("click", async () => {
  const button = byId("wake");
  button.disabled = true;
  try {
    const answer = await fetch("/wake", { method: "POST", headers: { authorization: "Bearer " + token } });
    const report = await answer.json();
    trouble(answer.ok ? "" : report.error);
  } catch {
    trouble("the server did not answer");
  }
  button.disabled = socket === null;
});

byId("pace").addEventListener("change", () => {
  if (timer !== null) clearTimeout(timer);
  showNext();
});

byId("enter").addEventListener("submit", (event) => {
  event.preventDefault();
  token = byId("token").value.trim();
  byId("token").value = "";
  sessionStorage.setItem("callwise-token", token);
  failures = 0;
  connect();
});

const client = sessionStorage.getItem("callwise-client") || randomId();
sessionStorage.setItem("callwise-client", client);

// The token comes after `#`, which browsers send to no server, and is taken out of the address.
const given = new URLSearchParams(location.hash.slice(1)).get("token");
if (given) history.replaceState(null, "", location.pathname);
token = given || sessionStorage.getItem("callwise-token") || "";
if (token) {
  sessionStorage.setItem("callwise-token", token);
  connect();
} else {
  byId("enter").hidden = false;
}
