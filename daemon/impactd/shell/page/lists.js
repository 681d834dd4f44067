// Tables that search, sort and filter; of long ones only the rows in sight exist.

const ROW = 25;
const SPARE = 12;
const tables = new Map();

export function table(id, { columns, fallback }) {
  const element = document.getElementById(id);
  const scroll = element.closest(".scroll");
  const known = { element, scroll, items: [], columns, by: fallback, down: false };
  tables.set(id, known);
  for (const th of element.tHead?.querySelectorAll("[data-sort]") ?? []) {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...th.childNodes);
    th.append(button);
    button.onclick = () => { known.down = known.by === th.dataset.sort ? !known.down : th.dataset.sort !== "name"; known.by = th.dataset.sort; sort(known); paint(known); };
  }
  let asked = false;
  scroll?.addEventListener("scroll", () => { if (!asked) { asked = true; requestAnimationFrame(() => { asked = false; paint(known); }); } }, { passive: true });
}

const compared = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true }));

function sort(known) {
  const read = known.columns[known.by];
  known.items.sort((a, b) => {
    const [x, y] = [read(a), read(b)];
    // What is unknown comes last, in both directions.
    if (x === null || y === null) return (x === null) - (y === null) || compared(a.name, b.name);
    return (known.down ? -1 : 1) * compared(x, y) || compared(a.name, b.name);
  });
  for (const th of known.element.tHead.querySelectorAll("[data-sort]")) th.setAttribute("aria-sort", th.dataset.sort !== known.by ? "none" : known.down ? "descending" : "ascending");
}

// Show items: {name, cells(), selected, pick}.
export function fill(id, items) {
  const known = tables.get(id);
  known.items = items;
  sort(known);
  paint(known);
}

export const names = (id) => tables.get(id).items.map((item) => item.name);

export function reveal(id, name) {
  const { scroll, items, element } = tables.get(id);
  const at = items.findIndex((item) => item.name === name);
  const head = element.tHead.offsetHeight;
  if (at < 0) return;
  if (at * ROW < scroll.scrollTop) scroll.scrollTop = at * ROW;
  else if ((at + 1) * ROW + head > scroll.scrollTop + scroll.clientHeight) scroll.scrollTop = (at + 1) * ROW + head - scroll.clientHeight;
}

function paint({ element, scroll, items }) {
  const body = element.tBodies[0];
  const from = Math.max(Math.floor(scroll.scrollTop / ROW) - SPARE, 0);
  const to = Math.min(from + Math.ceil(Math.max(scroll.clientHeight, 400) / ROW) + 2 * SPARE, items.length);
  const focused = document.activeElement?.closest?.("tr")?.dataset.name;
  const shown = items.slice(from, to).map((item, i) => row(item, from + i));
  body.replaceChildren(...spacer(from), ...shown, ...spacer(items.length - to));
  element.setAttribute("aria-rowcount", String(items.length + 1));
  if (focused !== undefined) body.querySelector(`tr[data-name="${CSS.escape(focused)}"]`)?.focus({ preventScroll: true });
}

function spacer(n) {
  if (n <= 0) return [];
  const tr = document.createElement("tr");
  tr.className = "spacer";
  tr.setAttribute("aria-hidden", "true");
  tr.style.height = `${n * ROW}px`;
  return [tr];
}

export function cells(tr, texts) {
  for (const cell of texts) {
    const td = tr.insertCell();
    td.textContent = cell?.text ?? cell;
    if (cell?.className) td.className = cell.className;
    if (cell?.title) td.title = cell.title;
  }
  return tr;
}

function row(item, at) {
  const tr = cells(document.createElement("tr"), item.cells());
  tr.dataset.name = item.name;
  tr.tabIndex = 0;
  tr.setAttribute("aria-rowindex", String(at + 2));
  tr.setAttribute("aria-selected", item.selected);
  tr.onclick = item.pick;
  tr.onkeydown = (e) => { if (e.key === "Enter" || e.key === " ") { e.preventDefault(); item.pick(); } };
  return tr;
}
