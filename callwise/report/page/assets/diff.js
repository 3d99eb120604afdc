// What differs between two texts: lines first, then the words of lines that were changed.

const MAX_LINE_CHANGES = 800;
const MAX_WORD_CHANGES = 400;
const MAX_COMPARED_CHARS = 400_000;
const WORDS = /[\p{Script=Han}\p{Script=Hiragana}\p{Script=Katakana}]|[\p{L}\p{N}_]+|\s+|[^]/gu;

// The shortest list of changes from one list to another (Myers 1986); null beyond `most` changes.
function changes(one, other, most) {
  let reach = new Map([[1, 0]]);
  const trace = [];
  for (let count = 0; count <= Math.min(most, one.length + other.length); count++) {
    trace.push(new Map(reach));
    for (let line = -count; line <= count; line += 2) {
      const isDown = line === -count || (line !== count && (reach.get(line - 1) ?? -1) < (reach.get(line + 1) ?? -1));
      let x = isDown ? reach.get(line + 1) : reach.get(line - 1) + 1;
      let y = x - line;
      while (x < one.length && y < other.length && one[x] === other[y]) { x++; y++; }
      reach.set(line, x);
      if (x >= one.length && y >= other.length) return steps(trace, one, other);
    }
  }
  return null;
}

function steps(trace, one, other) {
  const found = [];
  let x = one.length;
  let y = other.length;
  for (let count = trace.length - 1; count >= 0; count--) {
    const reach = trace[count];
    const line = x - y;
    const isDown = line === -count || (line !== count && (reach.get(line - 1) ?? -1) < (reach.get(line + 1) ?? -1));
    const before = isDown ? line + 1 : line - 1;
    const fromX = reach.get(before) ?? 0;
    const fromY = fromX - before;
    while (x > fromX && y > fromY && x > 0 && y > 0) { found.push(["=", one[x - 1]]); x--; y--; }
    if (count > 0) {
      if (isDown) { found.push(["+", other[y - 1]]); y--; } else { found.push(["-", one[x - 1]]); x--; }
    }
  }
  return found.reverse();
}

// Changes with the equal beginning and end set aside.
function listDiff(one, other, most) {
  let begin = 0;
  while (begin < one.length && begin < other.length && one[begin] === other[begin]) begin++;
  let end = 0;
  while (end < one.length - begin && end < other.length - begin
    && one[one.length - 1 - end] === other[other.length - 1 - end]) end++;
  const middle = [one.slice(begin, one.length - end), other.slice(begin, other.length - end)];
  const found = changes(middle[0], middle[1], most)
    || [...middle[0].map((each) => ["-", each]), ...middle[1].map((each) => ["+", each])];
  return [
    ...one.slice(0, begin).map((each) => ["=", each]),
    ...found,
    ...one.slice(one.length - end).map((each) => ["=", each]),
  ];
}

function joined(parts) {
  const found = [];
  for (const [kind, text] of parts) {
    const last = found[found.length - 1];
    if (last && last[0] === kind) last[1] += text;
    else if (text) found.push([kind, text]);
  }
  return found;
}

// Within a run of changes, all that left comes before all that came.
function replaced(parts, most) {
  const found = [];
  let left = "";
  let came = "";
  const flush = () => {
    if (left && came && most) {
      found.push(...listDiff(left.match(WORDS), came.match(WORDS), most));
    } else found.push(["-", left], ["+", came]);
    left = came = "";
  };
  for (const [kind, text] of parts) {
    if (kind === "-") left += text;
    else if (kind === "+") came += text;
    else { flush(); found.push([kind, text]); }
  }
  flush();
  return joined(found);
}

// [kind, text] of each part: "=" in both, "-" in `one` only, "+" in `other` only.
function textDiff(one, other) {
  if (one === other) return [["=", one]];
  if (one.length + other.length > MAX_COMPARED_CHARS) return [["-", one], ["+", other]];
  const lines = (text) => text.split(/(?<=\n)/u);
  const byWords = replaced(listDiff(lines(one), lines(other), MAX_LINE_CHANGES), MAX_WORD_CHANGES);
  return replaced(byWords, 0);
}
