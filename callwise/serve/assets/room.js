// The chat as it comes: a websocket, a queue that slow motion stretches, and the cost of each reply.

const MAX_SHOWN = 500;
const MAX_FAILURES = 6;
const LEAST_GAP = 0.15; // seconds between two events that slow motion stretches
const agents = new Map();
let token = "";
let socket = null;
let last = 0;
let failures = 0;
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

function showMessage(event) {
  const agent = agents.get(event.author);
  const name = agent ? agent.name : event.author;
  const item = el(
    "li", { class: "message new" + (agent ? " reply" : "") },
    el("p", { class: "who" }, ...shown(name), " · " + clock(event.at) + " UTC"),
    el("p", { class: "text", dir: "auto" }, ...shown(event.text)),
    event.cost ? el("p", { class: "cost" }, ...shown(costText(event.cost))) : null,
  );
  const chat = byId("chat");
  const isAtEnd = window.innerHeight + window.scrollY >= document.body.scrollHeight - 120;
  chat.append(item);
  while (chat.childElementCount > MAX_SHOWN) chat.firstElementChild.remove();
  if (isAtEnd) window.scrollTo(0, document.body.scrollHeight);
}

function requestText(each) {
  const kind = each.batch_size > 1 || !each.for.startsWith("agent:") ? each.for : each.for.slice(6);
  const what = kind === "intent" ? "intent" : each.batch_size > 1
    ? counted(each.calls, "reply", "replies") : "reply of " + kind;
  return [
    "#" + each.number + " " + each.model, what,
    counted(each.input_tokens + each.output_tokens, "token"), usd(each.usd),
    figure(each.seconds) + " s",
  ].join(" · ");
}

function wakeText(each) {
  const ends = Object.entries(each.outcomes).map(([name, count]) => count + " " + name);
  return [
    (each.is_message ? "message " : "hour ") + clock(each.at), "intent " + each.intent,
    ends.join(", ") || "none woken",
    counted(each.calls, "call") + " in " + counted(each.requests, "request"),
    counted(each.tokens, "token"), usd(each.usd),
  ].join(" · ");
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
  listed("requests", event.requests.toReversed().map(
    (each) => el("li", { class: each.failed ? "failed" : null }, ...shown(requestText(each)))));
  listed("wakes", event.wakes.toReversed().map((each) => el(
    "li", {}, ...shown(wakeText(each)),
    ...each.failures.map((one) => el("p", { class: "failed" }, ...shown(one.agent + ": " + one.reason))))));
}

// Slow motion: events are shown in their order, each later than the one before by its own gap,
// stretched. Without it they are shown as they come.

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
  waiting.push([event, performance.now()]);
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
  if (code === 4409) last = 0;
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
    socket.send(JSON.stringify({ type: "hello", token, after: last }));
  });
  socket.addEventListener("message", (message) => receive(JSON.parse(message.data)));
  socket.addEventListener("close", (event) => ended(event.code, event.reason));
}

function randomId() {
  const bytes = crypto.getRandomValues(new Uint8Array(12));
  return "page-" + Array.from(bytes, (each) => each.toString(16).padStart(2, "0")).join("");
}

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
