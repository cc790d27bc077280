"use strict";
// The panel of one study: who, what was found, its planes, all its figures.

/** Groups that are open at once; the columns of the others are read when they are opened. */
const OPEN_GROUPS = new Set(["Study", "Result"]);

class StudyPanel {
  /**
   * @param {object} asked  what to do: `close()`, `step(by)`.
   */
  constructor(element, cohort, asked) {
    Object.assign(this, { element, cohort, asked, row: -1, opened: new Set(OPEN_GROUPS) });
    this.planes = new Planes(cohort.grid, cohort.scales);
    element.addEventListener("keydown", (event) => {
      if (event.key === "Escape") asked.close();
    });
  }

  /** Show a study. Its volumes come after its figures. */
  async show(row) {
    this.row = row;
    delete this.element.dataset.planes;
    const { cohort } = this;
    const first = [...cohort.groups()].filter(([group]) => this.opened.has(group)).flatMap(([, names]) => names);
    const profiled = cohort.profile.flatMap(({ ratio, z, relevance }) => [ratio, z, relevance]);
    await cohort.columnsNamed([...new Set(["study", ...first, ...profiled, "probability", "planes", "page"])]);
    if (row !== this.row) return;
    const name = this.word("study");
    this.element.hidden = false;
    this.element.setAttribute("aria-label", `Study ${name}`);
    const scrolled = this.element.scrollTop;
    const parts = [
      this.bar(name), this.badges(), this.sentence(), this.fault(), this.pictures(name), this.figures(), ...this.groups(),
    ];
    this.element.replaceChildren(...parts.filter((part) => part !== null));
    this.element.scrollTop = scrolled;
    if (this.word("planes") === "yes") await this.showPlanes(name, row);
  }

  hide() {
    this.row = -1;
    this.element.hidden = true;
  }

  /** A word of the study; empty where there is none. */
  word(name) {
    const column = this.cohort.loaded.get(name);
    const text = column ? column.text(this.row) : "";
    return text === NOTHING ? "" : text;
  }

  bar(name) {
    const button = (text, label, action) =>
      make("button", { type: "button", "aria-label": label, title: label, onclick: action }, text);
    return make(
      "div", { className: "bar" },
      make("h2", { tabIndex: -1, id: "study-title" }, name),
      button("‹", "Previous study of the table", () => this.asked.step(-1)),
      button("›", "Next study of the table", () => this.asked.step(1)),
      button("×", "Close", () => this.asked.close()),
    );
  }

  badges() {
    const badge = (word, className = "") => make("span", { className: `badge ${className}` }, word);
    const found = [];
    if (this.word("status") && this.word("status") !== "done") found.push(badge(this.word("status"), "warn"));
    const outcome = { TN: "true negative", TP: "true positive", FN: "false negative", FP: "false positive" }[this.word("outcome")];
    if (outcome) found.push(badge(outcome, outcome.startsWith("false") ? "warn" : ""));
    if (this.word("inconsistent") === "yes") found.push(badge("inconsistent map", "warn"));
    for (const code of `${this.word("flags")} ${this.word("quantification_flags")}`.split(" ").filter(Boolean)) {
      const meaning = this.cohort.codes[code]?.[0] ?? "";
      found.push(make("span", { className: "badge warn", title: meaning }, code));
    }
    return make("p", { className: "badges" }, ...found);
  }

  sentence() {
    const [predicted, label, split] = ["predicted", "label", "split"].map((name) => this.word(name));
    const kinds = { positive: "reduced uptake", negative: "normal uptake" };
    const parts = [];
    if (predicted) parts.push(`Classified as ${kinds[predicted]} (probability of reduced uptake ${this.word("probability")}).`);
    if (label) parts.push(`Labelled ${label}${split ? `, ${split} set` : ""}.`);
    if (this.word("inconsistent") === "yes") parts.push("Its map is typical of the other class: read it with care.");
    return make("p", {}, parts.join(" "));
  }

  /** Why a study has no result, and what to do. */
  fault() {
    const code = this.word("error_code");
    if (!code) return null;
    const [meaning, remedy] = this.cohort.codes[code] ?? ["", ""];
    return make(
      "div", { className: "fault" },
      make("p", {}, make("strong", {}, code), ` ${meaning} ${this.word("error_reason")}`),
      make("p", {}, `What to do: ${remedy}`),
    );
  }

  pictures(name) {
    const links = this.word("page") === "yes"
      ? make("p", {}, make("a", { href: `studies/${encodeURIComponent(name)}.html` }, "Full page of this study"))
      : null;
    if (this.word("planes") !== "yes") {
      const said = this.word("status") === "done" ? "The planes of this study were not written into this folder." : null;
      return make("div", {}, said && make("p", { className: "hint" }, said), links);
    }
    const box = (label, checked, change) => {
      const input = make("input", { type: "checkbox", checked, onchange: () => change(input.checked) });
      return make("label", {}, input, ` ${label}`);
    };
    const { planes } = this;
    return make(
      "div", { className: "pictures" },
      make("div", { className: "buttons" },
        box("relevance", planes.overlay, (on) => planes.setOverlay(on)),
        box("patient's own left and right", planes.asAcquired, (on) => planes.setFrame(on))),
      planes.element, planes.readout, planes.legend, links,
    );
  }

  async showPlanes(name, row) {
    const content = await request(`volumes/${name}`).catch(() => null);
    if (row !== this.row) return;
    if (content === null) this.planes.readout.textContent = "The volumes of this study cannot be read from this folder.";
    else await this.planes.show(content);
    this.element.dataset.planes = name;
  }

  figures() {
    const { loaded } = this.cohort;
    const profile = this.cohort.profile.filter(({ ratio }) => this.word(ratio));
    if (profile.length === 0) return null;
    const tops = profile.flatMap(({ relevance }) => loaded.get(relevance)?.extent.map(Math.abs) ?? []);
    return profileChart(profile, (name) => loaded.get(name), this.row, Math.max(0, ...tops.filter(Number.isFinite)));
  }

  groups() {
    return [...this.cohort.groups()].filter(([group]) => group !== "Files").map(([group, names]) => {
      const list = make("dl");
      const details = make("details", { open: this.opened.has(group) }, make("summary", {}, group), list);
      const row = this.row;
      const fill = async () => {
        const columns = await this.cohort.columnsNamed(names);
        const told = columns.filter((column) => column.text(row) !== NOTHING);
        list.replaceChildren(...told.flatMap((column) => [
          make("dt", { title: column.description }, column.label), make("dd", {}, column.text(row)),
        ]));
        if (told.length === 0) list.replaceChildren(make("dt", {}, "nothing"), make("dd", {}));
      };
      details.addEventListener("toggle", () => {
        this.opened[details.open ? "add" : "delete"](group);
        if (details.open) fill();
      });
      return details;
    });
  }
}
