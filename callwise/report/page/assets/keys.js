// Keys, and light and dark.

const THEME = "callwise-theme";

// A page from disk may have no memory; it follows the system then.
function remembered() {
  try { return localStorage.getItem(THEME); } catch { return null; }
}

function remember(theme) {
  try { localStorage.setItem(THEME, theme); } catch { /* the choice holds for this visit */ }
}

function themes() {
  const root = document.documentElement;
  const preferred = matchMedia("(prefers-color-scheme: dark)");
  const isDark = () => (root.dataset.theme || (preferred.matches ? "dark" : "light")) === "dark";
  const tell = () => { byId("to-theme").textContent = isDark() ? "Light" : "Dark"; };
  const kept = remembered();
  if (kept === "dark" || kept === "light") root.dataset.theme = kept;
  const toggle = () => {
    root.dataset.theme = isDark() ? "light" : "dark";
    remember(root.dataset.theme);
    tell();
  };
  preferred.addEventListener("change", tell);
  byId("to-theme").addEventListener("click", toggle);
  tell();
  return toggle;
}

function keyInSearch(event) {
  if (event.key === "Escape") {
    event.target.value = "";
    event.target.dispatchEvent(new Event("input"));
  } else if (event.key !== "Enter" && event.key !== "ArrowDown") return;
  event.preventDefault();
  toList();
}

function listen(toggle) {
  const help = byId("help");
  const search = () => { document.body.dataset.view = "list"; byId("find").focus(); };
  const keys = new Map([
    ["j", () => move(1)],
    ["k", () => move(-1)],
    ["/", search],
    ["?", () => help.showModal()],
    ["t", toggle],
    ["o", () => open(null, true)],
    ["c", () => { page.side = 1 - page.side; redraw(); }],
    ["Escape", toList],
    ["Enter", () => { if (page.current !== null) open(page.current, true); }],
  ]);
  byId("to-help").addEventListener("click", () => help.showModal());
  addEventListener("keydown", (event) => {
    if (event.defaultPrevented || event.ctrlKey || event.metaKey || event.altKey || help.open) return;
    const { target, key } = event;
    if (target === byId("find")) return keyInSearch(event);
    if (target.closest && target.closest("select, input") && key !== "Escape") return;
    const steps = byId("rows").contains(target) ? { ArrowDown: 1, ArrowUp: -1 }[key] : undefined;
    const isControl = target.closest && target.closest("a, button, input, summary");
    if (!steps && (!keys.has(key) || (key === "Enter" && isControl))) return;
    event.preventDefault();
    steps ? move(steps) : keys.get(key)();
  });
}
