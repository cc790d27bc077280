"use strict";
// The table: only the rows that are seen exist as elements, so that a million studies cost as much as fifty.

const ROW_HEIGHT = 30;
/** Browsers draw nothing taller than some 17 million pixels: beyond this the scroll bar stands for more rows. */
const TALLEST = 8_000_000;

class StudyTable {
  /**
   * @param {object} asked  what to do: `sort(name)`, `filter(name, button)`, `open(row)`, `activate(row)`.
   */
  constructor(frame, asked) {
    Object.assign(this, { frame, asked, columns: [], rows: new Uint32Array(0), first: 0, active: 0, opened: -1 });
    this.head = make("tr", { role: "row", "aria-rowindex": "1" });
    this.body = make("tbody", { role: "rowgroup" });
    this.table = make("table", { role: "presentation" }, make("thead", { role: "rowgroup" }, this.head), this.body);
    this.track = make("div", { className: "track", role: "presentation" }, this.table);
    frame.append(this.track);
    this.draw = oncePerFrame(() => this.drawNow());
    frame.addEventListener("scroll", () => this.scrolled());
    frame.addEventListener("wheel", (event) => this.turn(event), { passive: false });
    frame.addEventListener("keydown", (event) => this.key(event));
    frame.addEventListener("click", (event) => this.click(event));
    new ResizeObserver(() => (this.fit(), this.draw())).observe(frame);
  }

  /** Show these columns; `filtered` holds the names of those that a filter is in force for. */
  showColumns(columns, sort, filtered) {
    this.columns = columns;
    this.head.replaceChildren(...columns.map((column, at) => this.heading(column, at, sort, filtered)));
    this.frame.setAttribute("aria-colcount", String(columns.length));
    this.draw();
  }

  heading(column, at, sort, filtered) {
    const sorted = sort.name === column.name;
    const arrow = sorted ? (sort.descending ? " ↓" : " ↑") : "";
    const sorter = make(
      "button",
      { type: "button", className: "sorter", title: column.description, onclick: () => this.asked.sort(column.name) },
      column.label, arrow,
    );
    const filter = column.kind === "text" ? null : make("button", {
      type: "button", className: filtered.has(column.name) ? "filterer on" : "filterer",
      "aria-label": `Filter ${column.title}`, "aria-haspopup": "dialog",
      onclick: (event) => this.asked.filter(column.name, event.currentTarget),
    }, "▾");
    const heading = make("th", { role: "columnheader", scope: "col", className: column.isNumber ? "figure" : "", "aria-colindex": String(at + 1) });
    heading.setAttribute("aria-sort", sorted ? (sort.descending ? "descending" : "ascending") : "none");
    heading.append(make("div", {}, sorter, ...(filter ? [filter] : [])));
    return heading;
  }

  /** Show these rows of the cohort, in this order. */
  showRows(rows) {
    const kept = rows.indexOf(this.rows[this.active] ?? -1);
    this.rows = rows;
    this.active = Math.max(0, kept);
    this.frame.setAttribute("aria-rowcount", String(rows.length + 1));
    this.fit();
    this.goTo(kept < 0 ? 0 : Math.min(this.first, this.lastFirst));
  }

  get seen() {
    return Math.max(1, Math.floor((this.frame.clientHeight - this.head.offsetHeight) / ROW_HEIGHT));
  }

  get lastFirst() {
    return Math.max(0, this.rows.length - this.seen);
  }

  /** Make the track as tall as the rows would be. */
  fit() {
    const height = Math.min(TALLEST, this.lastFirst * ROW_HEIGHT) + this.frame.clientHeight;
    this.track.style.height = this.lastFirst ? `${height}px` : "auto";
  }

  scrolled() {
    const range = this.frame.scrollHeight - this.frame.clientHeight;
    // Where one pixel stands for several rows, the bar cannot say which of them `goTo` went to.
    if (Math.abs(this.frame.scrollTop - this.placed) < 1) return;
    this.placed = NaN;
    this.first = range > 0 ? Math.round((this.frame.scrollTop / range) * this.lastFirst) : 0;
    this.draw();
  }

  /** Make a row the first one seen. */
  goTo(first) {
    this.first = Math.max(0, Math.min(this.lastFirst, first));
    const range = this.frame.scrollHeight - this.frame.clientHeight;
    this.placed = this.lastFirst ? (this.first / this.lastFirst) * range : 0;
    this.frame.scrollTop = this.placed;
    this.draw();
  }

  turn(event) {
    if (this.lastFirst * ROW_HEIGHT <= TALLEST || event.deltaY === 0) return;
    event.preventDefault();
    this.goTo(this.first + Math.sign(event.deltaY) * 3);
  }

  /** Make a place in the order the active one, and bring it into sight. */
  activate(place) {
    this.active = Math.max(0, Math.min(this.rows.length - 1, place));
    if (this.active < this.first) this.goTo(this.active);
    else if (this.active >= this.first + this.seen) this.goTo(this.active - this.seen + 1);
    this.asked.activate(this.rows[this.active]);
    this.draw();
  }

  /** Mark a study of the cohort as the one that is open; it becomes the active one where it is listed. */
  showOpened(row) {
    this.opened = row;
    const place = row < 0 ? -1 : this.rows.indexOf(row);
    if (place >= 0 && place !== this.active) {
      this.active = place;
      if (place < this.first || place >= this.first + this.seen) this.goTo(place - Math.floor(this.seen / 2));
    }
    this.draw();
  }

  key(event) {
    if (event.target !== this.frame || this.rows.length === 0) return;
    const to = {
      ArrowDown: this.active + 1, ArrowUp: this.active - 1, PageDown: this.active + this.seen,
      PageUp: this.active - this.seen, Home: 0, End: this.rows.length - 1,
    }[event.key];
    if (to !== undefined) this.activate(to);
    else if (event.key === "Enter") this.asked.open(this.rows[this.active]);
    else return;
    event.preventDefault();
  }

  click(event) {
    const line = event.target.closest("tbody tr[data-place]");
    if (!line) return;
    this.active = Number(line.dataset.place);
    this.asked.open(this.rows[this.active]);
  }

  drawNow() {
    const count = Math.min(this.seen + 1, this.rows.length - this.first);
    const lines = [];
    for (let at = 0; at < count; at += 1) lines.push(this.line(this.first + at));
    if (this.rows.length === 0)
      lines.push(make("tr", { role: "row" }, make("td", { role: "gridcell", colSpan: this.columns.length }, "No study passes the filters.")));
    this.body.replaceChildren(...lines);
    if (this.rows.length > 0 && this.active >= this.first && this.active < this.first + count)
      this.frame.setAttribute("aria-activedescendant", `row-${this.active}`);
    else this.frame.removeAttribute("aria-activedescendant");
  }

  line(place) {
    const row = this.rows[place];
    const names = [place === this.active ? "active" : "", row === this.opened ? "opened" : ""].join(" ").trim();
    const line = make("tr", { id: `row-${place}`, role: "row", className: names, "aria-rowindex": String(place + 2) });
    line.setAttribute("aria-selected", String(row === this.opened));
    line.dataset.place = String(place);
    line.append(...this.columns.map((column) =>
      make("td", { role: "gridcell", className: column.isNumber ? "figure" : column.kind === "text" ? "name" : "" }, column.text(row)),
    ));
    return line;
  }
}
