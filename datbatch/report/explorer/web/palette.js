"use strict";
// Colours and shapes: Okabe and Ito's for words, which every kind of colour vision tells apart, cividis for numbers.

const MISSING_COLOUR = [182, 186, 192];
const UNCHOSEN_COLOUR = [222, 225, 229];
const WORD_COLOURS = [
  [0, 114, 178], [230, 159, 0], [0, 158, 115], [204, 121, 167], [86, 180, 233], [213, 94, 0], [240, 228, 66],
];
/** Words that keep their colour wherever they appear, as in the report. */
const KNOWN_COLOURS = {
  negative: [0, 114, 178], positive: [213, 94, 0],
  TN: [0, 114, 178], TP: [213, 94, 0], FN: [240, 228, 66], FP: [204, 121, 167],
  no: [0, 114, 178], yes: [213, 94, 0],
  done: [0, 158, 115], failed: [213, 94, 0], excluded: [86, 180, 233], pending: [230, 159, 0],
};
const CIVIDIS = [
  [0, 34, 78], [53, 69, 108], [102, 105, 112], [148, 142, 119], [200, 184, 102], [254, 232, 56],
];
const NUMBER_STEPS = 32;
const SHAPES = ["circle", "triangle", "square", "diamond", "nabla"];

function css([red, green, blue]) {
  return `rgb(${red} ${green} ${blue})`;
}

/** A colour between stops that lie at equal distances, for a share from 0 to 1. */
function between(stops, share) {
  const place = Math.max(0, Math.min(1, share)) * (stops.length - 1);
  const at = Math.min(stops.length - 2, Math.floor(place));
  return stops[at].map((start, channel) => Math.round(start + (stops[at + 1][channel] - start) * (place - at)));
}

/** How a column colours points: `classOf(row)`, and for each class its colour, shape and name. */
class Colouring {
  constructor(column) {
    this.column = column;
    if (column.isNumber) this.byNumber();
    else this.byWord();
  }

  byNumber() {
    const [low, high] = this.column.extent;
    const scale = (NUMBER_STEPS - 1) / (high - low || 1);
    const { numbers } = this.column;
    this.classes = Array.from({ length: NUMBER_STEPS }, (_, step) => ({
      colour: between(CIVIDIS, step / (NUMBER_STEPS - 1)), shape: "circle", title: "",
    }));
    this.classes.push({ colour: MISSING_COLOUR, shape: "circle", title: "none" });
    this.classOf = (row) => (Number.isNaN(numbers[row]) ? NUMBER_STEPS : Math.round((numbers[row] - low) * scale));
  }

  byWord() {
    const { codes, categories } = this.column;
    const counts = new Uint32Array(categories.length);
    for (const code of codes) counts[code] += 1;
    const frequent = [...counts.keys()].filter((code) => categories[code] !== "");
    if (frequent.length > WORD_COLOURS.length) frequent.sort((a, b) => counts[b] - counts[a]);
    const named = frequent.slice(0, WORD_COLOURS.length);
    this.classes = named.map((code, at) => ({
      colour: KNOWN_COLOURS[categories[code]] ?? WORD_COLOURS[at], shape: SHAPES[at % SHAPES.length],
      title: categories[code], words: [categories[code]], count: counts[code],
    }));
    const others = frequent.slice(WORD_COLOURS.length);
    const grey = (title, rest) => ({
      colour: MISSING_COLOUR, shape: "circle", title, words: rest.map((code) => categories[code]),
      count: rest.reduce((sum, code) => sum + counts[code], 0),
    });
    const classOfCode = new Uint8Array(categories.length);
    named.forEach((code, at) => (classOfCode[code] = at));
    for (const [title, rest] of [["other", others], ["none", categories.indexOf("") < 0 ? [] : [categories.indexOf("")]]]) {
      if (rest.length === 0) continue;
      for (const code of rest) classOfCode[code] = this.classes.length;
      this.classes.push(grey(title, rest));
    }
    this.classOf = (row) => classOfCode[codes[row]];
  }
}
