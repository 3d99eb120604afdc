// Texts of the page, put together from the pieces of one long text, the heap.

const texts = { heap: "", pieces: [] };

function textOf(stored) {
  if (typeof stored !== "number") return stored || "";
  const pieces = texts.pieces[stored];
  let whole = "";
  for (let place = 0; place < pieces.length; place += 2) {
    whole += texts.heap.slice(pieces[place], pieces[place] + pieces[place + 1]);
  }
  return whole;
}

// JSON with indentation, or null where a text is no JSON object or list.
function indented(text) {
  if (!/^\s*[[{]/.test(text)) return null;
  try { return JSON.stringify(JSON.parse(text), null, 2); } catch { return null; }
}

function charsOf(text) {
  return counted([...text].length, "character");
}
