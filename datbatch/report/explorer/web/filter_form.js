"use strict";
// The form in which one column is filtered: a histogram with two ends, or words with their counts, or a piece of text.

const HISTOGRAM_BARS = 32;

/** Fill the popover for a column; `change` takes the new filter, or null for none. */
function showFilterForm(popover, anchor, column, current, change) {
  const clear = make("button", { type: "button", onclick: () => (change(null), popover.hidePopover()) }, "Clear");
  const close = make("button", { type: "button", onclick: () => popover.hidePopover() }, "Close");
  popover.replaceChildren(
    make("h2", {}, column.label),
    make("p", { className: "hint" }, column.description),
    ...(column.isNumber ? rangeFields(column, current, change) : column.codes ? wordFields(column, current, change) : []),
    make("div", { className: "buttons" }, clear, close),
  );
  popover.setAttribute("aria-label", `Filter ${column.title}`);
  showBeside(popover, anchor);
  popover.querySelector("input")?.focus();
}

/** Show a popover below its button, inside the window. */
function showBeside(popover, anchor) {
  if (!popover.matches(":popover-open")) popover.showPopover();
  const { left, bottom } = anchor.getBoundingClientRect();
  const { offsetWidth: width, offsetHeight: height } = popover;
  popover.style.left = `${Math.max(8, Math.min(left, window.innerWidth - width - 8))}px`;
  popover.style.top = `${Math.max(8, Math.min(bottom + 4, window.innerHeight - height - 8))}px`;
}

function rangeFields(column, current, change) {
  const [low, high] = column.extent;
  const field = (label, value, placeholder) =>
    make("label", {}, label, make("input", { type: "number", step: "any", value, placeholder, oninput: read }));
  const finite = (value) => (Number.isFinite(value) ? String(value) : "");
  const from = field("from ", current ? finite(current.low) : "", column.format(low));
  const to = field("to ", current ? finite(current.high) : "", column.format(high));
  function read() {
    const [start, end] = [from, to].map((label) => label.querySelector("input").value);
    if (start === "" && end === "") change(null);
    else change(new RangeFilter(column, start === "" ? -Infinity : Number(start), end === "" ? Infinity : Number(end)));
  }
  return [histogram(column), make("div", { className: "range" }, from, to)];
}

function histogram(column) {
  const [low, high] = column.extent;
  const counts = new Uint32Array(HISTOGRAM_BARS);
  const scale = HISTOGRAM_BARS / (high - low || 1);
  for (const value of column.numbers)
    if (Number.isFinite(value)) counts[Math.min(HISTOGRAM_BARS - 1, Math.floor((value - low) * scale))] += 1;
  const most = Math.max(...counts);
  const bars = Array.from(counts, (count, at) =>
    makeSvg("rect", { x: at * 8, y: 48 - (48 * count) / most, width: 7, height: (48 * count) / most }),
  );
  const said = `Histogram from ${column.format(low)} to ${column.format(high)}`;
  return makeSvg("svg", { class: "histogram", viewBox: "0 0 255 48", role: "img", "aria-label": said }, ...bars);
}

function wordFields(column, current, change) {
  const words = offeredWords(column);
  const perCategory = new Uint32Array(column.categories.length);
  for (const code of column.codes) perCategory[code] += 1;
  const count = (word) =>
    categoriesWith(column, new Set([word])).reduce((sum, has, at) => sum + (has ? perCategory[at] : 0), 0);
  const read = () => {
    const chosen = [...list.querySelectorAll("input:checked")].map((box) => words[Number(box.value)]);
    change(chosen.length === 0 ? null : new WordsFilter(column, chosen));
  };
  const list = make(
    "ul",
    { className: "words" },
    ...words.map((word, at) => {
      const box = make("input", { type: "checkbox", value: String(at), onchange: read });
      box.checked = current ? current.chosen.has(word) : false;
      return make("li", {}, make("label", {}, box, ` ${word || "none"} `, make("small", {}, grouped(count(word)))));
    }),
  );
  return [list];
}
