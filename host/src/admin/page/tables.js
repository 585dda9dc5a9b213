// Elements, and tables that change cell by cell. All texts of others are set as text, never as markup.

/** An element with attributes and children; a child that is no node becomes text. */
export function el(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [attribute, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined) element.setAttribute(attribute, value);
  }
  element.append(...children.filter((child) => child !== null && child !== undefined && child !== ""));
  return element;
}

/** A state as a sign and a word. */
export function state(value, word = value) {
  return el("span", { class: "state", "data-state": value }, word);
}

/** A time that says how long ago it was; `refresh` keeps it right. */
export function ago(millis) {
  const time = new Date(millis);
  const element = el("time", { datetime: time.toISOString(), title: time.toLocaleString() });
  element.textContent = distance(millis);
  return element;
}

export function refreshTimes(root) {
  for (const element of root.querySelectorAll("time")) {
    const text = distance(Date.parse(element.dateTime));
    if (element.textContent !== text) element.textContent = text;
  }
}

export function distance(millis) {
  const seconds = Math.max(0, Math.round((Date.now() - millis) / 1000));
  if (seconds < 5) return "now";
  if (seconds < 60) return `${Math.floor(seconds / 5) * 5} s ago`;
  if (seconds < 3600) return `${Math.floor(seconds / 60)} min ago`;
  if (seconds < 86_400) return `${Math.floor(seconds / 3600)} h ago`;
  return `${Math.floor(seconds / 86_400)} d ago`;
}

/** Rows of a table that are shown at first: on a phone each takes many lines. */
const FEW = matchMedia("(max-width: 46rem)").matches ? 4 : 12;

/** A table in a section of the page, one row for each entry. */
export class Table {
  /**
   * `columns`: `{label, of(entry), show(value, entry), kind}`; without `show` the value is the text.
   * `order(a, b)` compares entries; `empty` is what stands there without any; `most` rows are shown
   * until more are asked for.
   */
  constructor(id, { columns, order, empty, most = FEW, describe = () => "" }) {
    Object.assign(this, { columns, order, most, describe });
    this.rows = new Map();
    this.isWhole = false;
    const section = document.getElementById(id);
    this.count = el("span", { class: "count" });
    section.querySelector("h2").append(this.count);
    const heads = columns.map((column) =>
      el("th", { scope: "col", role: "columnheader", class: column.kind }, column.label));
    this.body = el("tbody", { role: "rowgroup" });
    this.table = el("table", { role: "table", "aria-labelledby": `${id}-title` },
      el("thead", { role: "rowgroup" }, el("tr", { role: "row" }, ...heads)), this.body);
    this.scroll = el("div", { class: "scroll", hidden: "" }, this.table);
    this.empty = el("p", { class: "empty" }, empty);
    this.button = el("button", { type: "button" });
    this.button.addEventListener("click", () => {
      this.isWhole = !this.isWhole;
      this.update(this.entries, this.total);
    });
    this.more = el("div", { class: "more", hidden: "" }, this.button);
    section.append(this.scroll, this.empty, this.more);
  }

  /** Shows these entries, a map by key; `total` may be more than are known here. */
  update(entries, total = entries.size) {
    this.entries = entries;
    this.total = total;
    const sorted = [...entries].sort(([, a], [, b]) => this.order(a, b));
    const shown = this.isWhole ? sorted : sorted.slice(0, this.most);
    this.count.textContent = this.describe(entries, total);
    this.empty.hidden = sorted.length > 0;
    this.scroll.hidden = sorted.length === 0;
    this.more.hidden = sorted.length <= this.most;
    this.button.textContent = this.isWhole ? `Show the first ${this.most}` : `Show all ${sorted.length}`;
    const isFirst = this.rows.size === 0;
    const keys = new Set(shown.map(([key]) => key));
    for (const [key, row] of this.rows) {
      if (!keys.has(key)) {
        row.element.remove();
        this.rows.delete(key);
      }
    }
    let place = this.body.firstElementChild;
    for (const [key, entry] of shown) {
      let row = this.rows.get(key);
      if (row === undefined) {
        row = this.row(isFirst);
        this.rows.set(key, row);
      }
      this.fill(row, entry);
      // Rows that stay in their place are not touched: focus and open details stay.
      if (row.element === place) place = place.nextElementSibling;
      else this.body.insertBefore(row.element, place);
    }
  }

  row(isFirst) {
    const cells = this.columns.map((column) =>
      el("td", { role: "cell", class: column.kind, "data-label": column.label }));
    const element = el("tr", { role: "row", class: isFirst ? null : "fresh" }, ...cells);
    return { element, cells, known: [] };
  }

  fill(row, entry) {
    this.columns.forEach((column, at) => {
      const value = column.of(entry);
      const known = JSON.stringify(value);
      if (row.known[at] === known) return;
      row.known[at] = known;
      const shown = column.show ? column.show(value, entry) : value;
      const hadFocus = row.cells[at].contains(document.activeElement);
      row.cells[at].replaceChildren(...(shown === null || shown === "" ? [] : [shown]));
      if (hadFocus) row.cells[at].querySelector("button, summary")?.focus();
    });
  }
}
