// Elements and text. Foreign text becomes text nodes only; attribute names are ours.

const ODD =
  /[\u0000-\u0008\u000b-\u001f\u007f-\u009f\u00ad\u061c\u180e\u200b\u200e\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff\u{e0000}-\u{e007f}]/gu;
const MAX_ODD_MARKS = 2000;
const ATTRIBUTES = new Set([
  "class", "id", "href", "title", "type", "role", "tabindex", "scope", "dir", "colspan",
  "aria-label", "aria-pressed", "aria-current", "aria-level", "aria-hidden", "aria-expanded", "aria-controls",
  "viewBox", "preserveAspectRatio", "d", "x1", "x2", "y1", "y2", "vector-effect",
]);

const byId = (id) => document.getElementById(id);

function withAttributes(node, attributes) {
  for (const [name, value] of Object.entries(attributes)) {
    if (value === null) continue;
    if (!ATTRIBUTES.has(name)) throw new Error("no such attribute here");
    if (name === "href" && !value.startsWith("#")) throw new Error("links stay in the page");
    node.setAttribute(name, value);
  }
  return node;
}

function el(tag, attributes = {}, ...children) {
  const node = withAttributes(document.createElement(tag), attributes);
  node.append(...children.flat(2).filter((child) => child !== null && child !== ""));
  return node;
}

function drawn(tag, attributes = {}, ...children) {
  const node = document.createElementNS("http://www.w3.org/2000/svg", tag);
  withAttributes(node, attributes).append(...children);
  return node;
}

function markOf(char) {
  return "⟨U+" + char.codePointAt(0).toString(16).toUpperCase().padStart(4, "0") + "⟩";
}

// A foreign text in one line of plain characters, for labels and tooltips.
function plain(text, most = Infinity) {
  const cut = text.length > most ? text.slice(0, most - 1) + "…" : text;
  return cut.replace(/\r\n/g, "\n").replace(ODD, markOf);
}

// A foreign text as nodes; its odd characters stand in marks of their own.
function shown(text) {
  const whole = text.replace(/\r\n/g, "\n");
  const found = [...whole.matchAll(ODD)];
  if (found.length > MAX_ODD_MARKS) return [plain(whole)];
  const nodes = [];
  let from = 0;
  for (const match of found) {
    nodes.push(whole.slice(from, match.index));
    nodes.push(el("span", { class: "odd", title: "not shown as it acts" }, markOf(match[0])));
    from = match.index + match[0].length;
  }
  nodes.push(whole.slice(from));
  return nodes.filter((node) => node !== "");
}

// A figure for people, as the terminal shows it; what is not known is no number.
function figure(value) {
  if (value === null || value === undefined) return "unknown";
  if (typeof value !== "number") return String(value);
  if (Number.isInteger(value)) return value.toLocaleString("en-US");
  if (Math.abs(value) >= 100) {
    return value.toLocaleString("en-US", { minimumFractionDigits: 2, maximumFractionDigits: 2 });
  }
  return String(Number(value.toPrecision(4)));
}

function signed(value) {
  if (value === null || value === undefined) return "";
  if (value === 0) return "0";
  return (value > 0 ? "+" : "−") + figure(Math.abs(value));
}

function counted(count, one, many = one + "s") {
  return figure(count) + " " + (count === 1 ? one : many);
}

function words(name) {
  return plain(name.replaceAll("_", " "));
}

function section(title, ...children) {
  return el("section", { class: "part" }, el("h3", {}, title), ...children);
}

function cell(value, isDifference = false) {
  if (typeof value === "string") return el("td", { dir: "auto" }, shown(value));
  const kind = value === null || value === undefined ? "unknown" : "number";
  return el("td", { class: kind }, isDifference ? signed(value) : figure(value));
}

// A table in a frame that scrolls by itself. Heads: [name, kind], kind "number", "difference" or "".
function table(label, heads, rows) {
  const head = el("tr", {}, heads.map(([name, kind]) =>
    el("th", { scope: "col", class: kind ? "number" : null }, name)));
  const body = el("tbody", {}, rows.map((row) => el("tr", {}, row.map((value, place) =>
    place === 0
      ? el("th", { scope: "row", class: heads[0][1] || null }, typeof value === "string" ? shown(value) : figure(value))
      : cell(value, heads[place][1] === "difference")))));
  return el("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": label },
    el("table", {}, el("thead", {}, head), body));
}

// Figures in one quiet line: name and value, again and again.
function facts(pairs) {
  return el("dl", { class: "facts" }, pairs.map(([name, value]) => el("div", {},
    el("dt", {}, words(name.replaceAll(".", " "))),
    el("dd", {}, typeof value === "string" ? shown(value) : figure(value)))));
}
