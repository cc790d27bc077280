"use strict";
// What happens when: one list of filters gives one mask of chosen studies, which the scatter and the table both show.

class ExplorerPage {
  constructor(cohort) {
    this.cohort = cohort;
    this.filters = new Map();
    this.shown = [...cohort.shown];
    this.sort = { name: "study", descending: false };
    this.scatter = new Scatter(byId("points"), byId("tip"), {
      select: (mask, add) => this.select(mask, add), open: (row) => this.open(row), tell: (row) => this.tellPoint(row),
    });
    this.table = new StudyTable(byId("rows"), {
      sort: (name) => this.sortBy(name), filter: (name, button) => this.showFilter(name, button),
      open: (row) => this.open(row, true), activate: (row) => this.panel.row >= 0 && this.open(row),
    });
    this.panel = new StudyPanel(byId("study"), cohort, { close: () => this.close(), step: (by) => this.step(by) });
  }

  async start() {
    this.fillHeader();
    this.fillAxes();
    byId("zoom-in").onclick = () => this.scatter.zoom(ZOOM_STEP);
    byId("zoom-out").onclick = () => this.scatter.zoom(1 / ZOOM_STEP);
    byId("zoom-all").onclick = () => this.scatter.showAll();
    byId("move").onclick = (event) => {
      this.scatter.moving = !this.scatter.moving;
      event.currentTarget.setAttribute("aria-pressed", String(this.scatter.moving));
    };
    byId("search").oninput = (event) => this.search(event.target.value.trim());
    byId("save").onclick = () => this.save();
    byId("column-chooser").addEventListener("beforetoggle", (event) => event.newState === "open" && this.fillChooser());
    byId("column-chooser").addEventListener("toggle", (event) => event.newState === "open" && showBeside(byId("column-chooser"), byId("choose-columns")));
    window.addEventListener("hashchange", () => this.followAddress());
    await Promise.all([this.axesChanged(), this.columnsChanged()]);
    this.scatter.drawNow();
    await this.followAddress();
  }

  fillHeader() {
    const { cohort } = this;
    byId("origin").textContent = `${grouped(cohort.studies)} studies${cohort.model ? ` · model ${cohort.model}` : ""} · datbatch ${cohort.version}`;
    byId("simulated").hidden = !cohort.simulated;
  }

  fillAxes() {
    const starts = { "axis-x": this.cohort.axes[0], "axis-y": this.cohort.axes[1], "axis-colour": this.cohort.colour };
    for (const [id, start] of Object.entries(starts)) {
      const allowed = (column) => column.kind === "number" || (id === "axis-colour" && column.kind !== "text");
      const groups = new Map();
      for (const column of this.cohort.columns.filter(allowed)) {
        const option = make("option", { value: column.name, selected: column.name === start }, column.title);
        groups.set(column.group, [...(groups.get(column.group) ?? []), option]);
      }
      byId(id).append(...[...groups].map(([label, options]) => make("optgroup", { label }, ...options)));
      byId(id).onchange = () => this.axesChanged();
    }
  }

  async axesChanged() {
    const names = ["axis-x", "axis-y", "axis-colour"].map((id) => byId(id).value);
    const [x, y, colour] = await this.cohort.columnsNamed(names);
    this.filters.delete("selection");
    this.colouring = new Colouring(colour);
    this.scatter.show(x, y);
    const drawn = this.scatter.grid.rows.length;
    byId("plotted").textContent =
      drawn < this.cohort.studies ? `${grouped(drawn)} of ${grouped(this.cohort.studies)} studies have both figures. ` : "";
    this.fillLegend();
    this.refresh();
  }

  async columnsChanged() {
    this.columns = await this.cohort.columnsNamed(this.shown);
    this.refresh();
  }

  /** Apply all filters, sort, and show what is left everywhere. */
  refresh() {
    if (!this.columns || !this.colouring) return;
    this.chosen = maskOf(this.filters.values(), this.cohort.studies);
    const rows = rowsOf(this.chosen);
    const key = this.cohort.loaded.get(this.sort.name);
    this.table.showColumns(this.columns, this.sort, new Set(this.filters.keys()));
    this.table.showRows(sortedRows(rows, key.sortKeys(), this.sort.descending));
    this.scatter.paint(this.colouring, this.chosen);
    byId("count").textContent = this.filters.size
      ? `${grouped(rows.length)} of ${grouped(this.cohort.studies)} studies` : `${grouped(rows.length)} studies`;
    this.fillChips();
  }

  /** Put a filter in the place of the one with its key; null takes it away. */
  setFilter(key, filter) {
    if (filter) this.filters.set(key, filter);
    else this.filters.delete(key);
    this.fillLegend();
    this.refresh();
  }

  fillChips() {
    const chips = [...this.filters].map(([key, filter]) => make("li", {}, make("button", {
      type: "button", className: "chip", "aria-label": `Remove filter ${filter.words}`,
      onclick: () => (key === "search" && (byId("search").value = ""), this.setFilter(key, null)),
    }, filter.words, " ×")));
    byId("chips").replaceChildren(...chips);
  }

  fillLegend() {
    const { column, classes } = this.colouring;
    if (column.isNumber) {
      const stops = CIVIDIS.map((colour, at) => [at / (CIVIDIS.length - 1), colour]);
      const [low, high] = column.extent.map((value) => column.format(value));
      byId("legend").replaceChildren(make("li", {}, scaleBar(stops, low, column.label, high)));
      return;
    }
    const filter = this.filters.get(column.name);
    byId("legend").replaceChildren(...classes.map((one) => {
      const mark = markPicture(one, 5, 2, true);
      mark.className = "mark";
      const pressed = filter ? one.words.every((word) => filter.chosen.has(word)) : false;
      return make("li", {}, make("button", {
        type: "button", "aria-pressed": String(pressed), onclick: () => this.toggleWords(column, one.words),
      }, mark, one.title, make("small", {}, ` ${grouped(one.count)}`)));
    }));
  }

  /** Press a colour of the legend: filter to its words, or let them go again. */
  toggleWords(column, words) {
    const before = this.filters.get(column.name)?.chosen ?? new Set();
    const all = words.every((word) => before.has(word));
    const chosen = all ? [...before].filter((word) => !words.includes(word)) : [...before, ...words];
    // Tags are filtered one by one, while the legend shows whole sets of them.
    const wanted = column.kind === "tags" ? chosen.flatMap((word) => word.split(" ")) : chosen;
    this.setFilter(column.name, chosen.length ? new WordsFilter(column, wanted) : null);
  }

  select(mask, add) {
    const before = this.filters.get("selection");
    if (mask && add && before) before.selected.forEach((one, row) => (mask[row] |= one));
    this.setFilter("selection", mask && new SelectionFilter(mask));
  }

  async search(sought) {
    const words = this.cohort.columns.filter(({ kind }) => kind !== "number").map(({ name }) => name);
    const columns = await this.cohort.columnsNamed(words.filter((name) => SEARCHED.has(name) || this.shown.includes(name)));
    if (byId("search").value.trim() === sought) this.setFilter("search", sought ? new SearchFilter(columns, sought) : null);
  }

  sortBy(name) {
    const again = this.sort.name === name;
    this.sort = { name, descending: again ? !this.sort.descending : false };
    this.refresh();
  }

  showFilter(name, button) {
    const column = this.cohort.loaded.get(name);
    showFilterForm(byId("filter"), button, column, this.filters.get(name), (filter) => this.setFilter(name, filter));
  }

  fillChooser() {
    const groups = [...this.cohort.groups()].map(([group, names]) => make(
      "fieldset", {}, make("legend", {}, group),
      ...names.filter((name) => name !== "study").map((name) => this.columnBox(name)),
    ));
    byId("column-chooser").replaceChildren(make("h2", {}, "Columns of the table"), ...groups);
  }

  columnBox(name) {
    const { title, description } = this.cohort.described.get(name);
    const box = make("input", { type: "checkbox", checked: this.shown.includes(name), onchange: () => {
      this.shown = box.checked ? [...this.shown, name] : this.shown.filter((one) => one !== name);
      this.columnsChanged();
    } });
    return make("label", { title: description }, box, ` ${title}`);
  }

  /** Say what is under the pointer, beside it and to a screen reader. */
  tellPoint(row) {
    if (row < 0) return;
    const { scatter, colouring } = this;
    const name = this.cohort.loaded.get("study").text(row);
    const figures = [scatter.xColumn, scatter.yColumn, colouring.column].map((column) => `${column.title} ${column.text(row)}`);
    byId("tip").replaceChildren(make("strong", {}, name), ...figures.map((text) => make("span", {}, text)));
    byId("point-told").textContent = `${name}: ${figures.join(", ")}`;
  }

  /** Open a study; its pseudonym goes into the address, so that Back closes it and a link can lead to it. */
  open(row, withFocus = false) {
    this.returnTo = document.activeElement;
    this.wantsFocus = withFocus && window.matchMedia("(max-width: 900px)").matches;
    const name = this.cohort.loaded.get("study").text(row);
    if (this.panel.row < 0) window.location.hash = name;
    else window.location.replace(`#${name}`);
  }

  close() {
    window.location.hash = "";
    (this.returnTo?.isConnected ? this.returnTo : byId("rows")).focus();
  }

  step(by) {
    const place = this.table.rows.indexOf(this.panel.row);
    const next = this.table.rows[place + by];
    if (next !== undefined) this.open(next);
  }

  /** Open the study that the address names, or close the panel where it names none. */
  async followAddress() {
    const name = window.location.hash.slice(1);
    const row = name ? this.cohort.loaded.get("study").lines.indexOf(name) : -1;
    document.body.classList.toggle("opened", row >= 0);
    this.scatter.opened = row;
    this.scatter.draw();
    this.table.showOpened(row);
    if (row < 0) {
      this.panel.hide();
      return;
    }
    await this.panel.show(row);
    if (this.wantsFocus) byId("study-title").focus();
    this.wantsFocus = false;
  }

  /** Save what the table shows, all rows, as a file. */
  save() {
    const quoted = (text) => (/[",\n]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);
    const plain = (column, row) => {
      if (!column.isNumber) return column.text(row) === NOTHING ? "" : column.text(row);
      return Number.isFinite(column.numbers[row]) ? String(column.numbers[row]) : "";
    };
    const lines = [this.columns.map((column) => column.name).join(",")];
    for (const row of this.table.rows) lines.push(this.columns.map((column) => quoted(plain(column, row))).join(","));
    const address = URL.createObjectURL(new Blob([`${lines.join("\n")}\n`], { type: "text/csv" }));
    make("a", { href: address, download: "studies.csv" }).click();
    URL.revokeObjectURL(address);
  }
}

/** Columns that the search looks through, besides those of the table. */
const SEARCHED = new Set(["study", "person", "site", "scanner", "flags", "quantification_flags", "error_code", "error_reason"]);

async function startExplorer() {
  try {
    const page = (window.explorerPage = new ExplorerPage(await Cohort.open()));
    await page.start();
    document.documentElement.dataset.ready = "yes";
  } catch (error) {
    byId("trouble").textContent = `The explorer cannot be shown: ${error.message}. Keep all files of its folder together, or call datbatch explore again.`;
    byId("trouble").hidden = false;
    throw error;
  }
}

startExplorer();
