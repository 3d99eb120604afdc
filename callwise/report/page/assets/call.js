// One call, opened: its way, its prompt with what differs from the one before, and its answer.

const SAME_SHOWN = 60;
const SAME_WHOLE = 220;
const WAYS = new Map([
  ["cached", "from the cache: an equal call had paid for it"],
  ["coalesced", "shared with an equal call that was under way"],
  ["replayed", "played from a recording"],
  ["refused", "refused by a limit: nothing was sent"],
  ["failed", "failed"],
  ["cancelled", "cancelled"],
]);

// Names of what is not as usual in the way on which a call was answered; others keep their own.
const WAY_NAMES = new Map([
  ["delivery.endpoint", "served by the endpoint"],
  ["delivery.model", "served by the model"],
  ["delivery.batch", "batch"],
  ["delivery.batch_size", "calls in the batch"],
  ["delivery.is_apportioned", "its tokens are its part of the batch's"],
  ["delivery.hedges", "further attempts next to a slow one"],
  ["delivery.discount", "part of the list price not charged"],
  ["delivery.similar", "answer of the similar call"],
  ["delivery.similarity", "similarity of the two calls"],
  ["choice.policy", "model chosen by the policy"],
  ["choice.model", "chosen model"],
  ["choice.reason", "chosen because"],
  ["choice.alternatives", "not chosen"],
  ["choice.step", "place in the policy's order"],
  ["choice.table", "digest of the policy"],
  ["choice.asked", "key of the question"],
]);

function callsOf(view) {
  return view.calls.map((row) => {
    const call = Object.fromEntries(page.columns.map((name, place) => [name, row[place]]));
    return { ...call, way: wayOf(call) };
  });
}

// What is not as usual in a call's way, in a few words; empty where all is.
function wayOf(call) {
  const ways = [];
  const served = new Map(call.delivery);
  const choice = new Map(call.choice);
  if (choice.get("model")) ways.push(`to ${choice.get("model")}`);
  else if (choice.size) ways.push("chosen by a policy");
  if (served.get("endpoint") || served.get("model")) {
    ways.push(`by ${[served.get("model"), served.get("endpoint")].filter(Boolean).join(" at ")}`);
  }
  if (call.attempts > 1) ways.push(counted(call.attempts - 1, "retry", "retries"));
  if (call.queue_seconds) ways.push(`queued ${figure(call.queue_seconds)} s`);
  if (served.get("batch_size")) ways.push(`in a batch of ${figure(served.get("batch_size"))}`);
  else if (served.get("batch")) ways.push("in a batch");
  if (served.get("hedges")) ways.push("hedged");
  if (served.get("discount")) ways.push(`${figure(100 * served.get("discount"))} % off`);
  if (served.get("similar")) ways.push("answer of a similar call");
  return ways.join(", ");
}

// The call before this one of the same node and purpose, in this turn or an earlier one of the
// conversation, that has a prompt.
function callBefore(views, view, calls, place) {
  const call = calls[place];
  const isLike = (each) => each.node === call.node && each.purpose === call.purpose && each.prompt.length > 0;
  for (let at = place - 1; at >= 0; at--) {
    if (isLike(calls[at])) return { call: calls[at], place: at, view };
  }
  for (let turn = views.indexOf(view) - 1; turn >= 0; turn--) {
    if (views[turn].conversation !== view.conversation) continue;
    const others = callsOf(views[turn]);
    for (let at = others.length - 1; at >= 0; at--) {
      if (isLike(others[at])) return { call: others[at], place: at, view: views[turn] };
    }
  }
  return null;
}

function nameOf(before, view) {
  const turn = before.view === view ? "" : ` of turn ${before.view.turn}`;
  return `call ${before.place + 1}${turn}`;
}

function sameText(text) {
  if ([...text].length <= SAME_WHOLE) return [el("span", { class: "same" }, shown(text))];
  const chars = [...text];
  const rest = chars.slice(SAME_SHOWN, -SAME_SHOWN).join("");
  const button = el("button", { type: "button", class: "fold" }, `… ${charsOf(rest)} as before …`);
  button.addEventListener("click", () => button.replaceWith(el("span", { class: "same" }, shown(rest))));
  return [
    el("span", { class: "same" }, shown(chars.slice(0, SAME_SHOWN).join(""))), button,
    el("span", { class: "same" }, shown(chars.slice(-SAME_SHOWN).join(""))),
  ];
}

function diffNodes(one, other) {
  return textDiff(one, other).flatMap(([kind, text]) => kind === "="
    ? sameText(text)
    : [el(kind === "+" ? "ins" : "del", {}, el("span", { class: "unseen" }, kind === "+" ? "(added) " : "(removed) "), shown(text))]);
}

function block(nodes, label) {
  return el("div", { class: "code", dir: "auto", role: "region", tabindex: "0", "aria-label": label }, nodes);
}

function messageBlock(role, size, nodes) {
  return el("div", { class: "prompt-part" }, el("p", { class: "who" }, shown(role), ` · ${size}`), block(nodes, `message, ${plain(role, 40)}`));
}

function readable(text) {
  return indented(text) ?? text;
}

function promptParts(call, before, kind) {
  const parts = call.prompt.map(([role, stored], place) => {
    const text = textOf(stored);
    if (kind === "sent") return messageBlock(role, charsOf(text), shown(text));
    if (kind === "whole" || !before) return messageBlock(role, charsOf(text), shown(readable(text)));
    const old = before.call.prompt[place];
    const isSame = old && old[0] === role && (old[1] === stored || textOf(old[1]) === text);
    if (isSame) {
      return el("details", { class: "prompt-part" },
        el("summary", {}, shown(role), ` · the same ${charsOf(text)}`), block(shown(readable(text)), `message, ${plain(role, 40)}`));
    }
    const nodes = diffNodes(old ? readable(textOf(old[1])) : "", readable(text));
    return messageBlock(role, charsOf(text), nodes);
  });
  const gone = kind === "differs" && before ? before.call.prompt.slice(call.prompt.length) : [];
  return [...parts, ...gone.map(([role, stored]) =>
    messageBlock(role, "not in this call", el("del", {}, shown(readable(textOf(stored))))))];
}

function promptPart(views, view, calls, place) {
  const call = calls[place];
  const holder = el("div", { class: "half" });
  if (!call.prompt.length) {
    const why = call.outcome === "refused" ? "The call was refused before it was sent, and nothing is recorded of it."
      : views.missing || "The recording does not have this call.";
    holder.append(el("h4", {}, "Prompt"), el("p", { class: "quiet" }, plain(why)));
    return holder;
  }
  const before = callBefore(views, view, calls, place);
  const draw = (kind) => {
    const options = [["whole", "Whole"], ["sent", "As sent"]];
    if (before) options.unshift(["differs", "What differs"]);
    const since = before ? `compared with ${nameOf(before, view)}, the last ${words(call.purpose)} of this node`
      : "the first of this node and purpose in the conversation";
    holder.replaceChildren(el("h4", {}, "Prompt ", el("small", {}, since)),
      choice("Prompt", options, kind, draw), ...promptParts(call, before, kind));
  };
  draw(before ? "differs" : "whole");
  return holder;
}

function answerPart(call) {
  const text = textOf(call.answer);
  const parts = [el("h4", {}, "Answer ", el("small", {}, text ? charsOf(text) : ""))];
  if (call.is_unreadable) parts.push(el("p", { class: "trouble" }, "Unreadable. ", shown(call.error)));
  else if (call.error) parts.push(el("p", { class: "trouble" }, shown(call.error)));
  const received = text ? block(shown(text), "answer, as received")
    : el("p", { class: "quiet" }, call.prompt.length ? "no text" : "not recorded");
  const parsed = call.parsed === null ? indented(text) : textOf(call.parsed) && readable(textOf(call.parsed));
  parts.push(parsed && call.parsed === null
    ? el("details", { class: "prompt-part" }, el("summary", {}, "As received"), received) : received);
  if (call.tool_calls) parts.push(el("h4", {}, "Calls of tools"), block(shown(readable(textOf(call.tool_calls))), "calls of tools"));
  if (parsed) {
    parts.push(el("h4", {}, "Parsed form ", el("small", {}, call.parsed === null ? "the answer is this document; indented here" : "the document that was found in the answer")),
      block(shown(parsed), "parsed form"));
  } else if (call.parsed === "") parts.push(el("p", { class: "trouble" }, "There is no JSON document in the answer."));
  if (call.notes) parts.push(el("p", { class: "quiet" }, "Mended to read it: ", shown(call.notes)));
  return el("div", { class: "half" }, parts);
}

function wayFacts(call, unit) {
  const found = [["outcome", WAYS.get(call.outcome) || call.outcome]];
  const add = (name, value) => { if (value) found.push([name, value]); };
  add("endpoint", call.endpoint);
  add("model", call.model);
  for (const group of ["choice", "delivery"]) {
    for (const [name, value] of call[group]) {
      const isKey = typeof value === "string" && /^[0-9a-f]{64}$/.test(value);
      found.push([WAY_NAMES.get(`${group}.${name}`) || `${group}: ${name}`, isKey ? `${value.slice(0, 12)}…` : value]);
    }
  }
  add("seconds in queues", call.queue_seconds);
  found.push(["attempts", call.attempts]);
  if (call.attempts > 1) found.push(["seconds lost to retries", call.retry_seconds]);
  add("repair", call.repair ? `${call.repair}: asked again, as the answer before did not fit` : "");
  add("sample", call.sample);
  add("tokens of the prompt in the provider's cache", call.cached_tokens);
  if (call.path_seconds !== null) found.push([call.is_virtual ? "virtual seconds" : unit, call.path_seconds]);
  add("finish reason", call.finish_reason);
  for (const [name, value] of call.settings) found.push([name, value]);
  return facts(found);
}

function callDetail(views, view, calls, place) {
  const call = calls[place];
  return el("div", { class: "call-detail" },
    wayFacts(call, views.seconds),
    el("div", { class: "halves" }, promptPart(views, view, calls, place), answerPart(call)));
}
