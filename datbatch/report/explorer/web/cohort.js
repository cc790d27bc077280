"use strict";
// The cohort's data. A page on disk may fetch nothing, but it may add scripts: each hands over one thing by its name.

const waiting = new Map();

/** Called by the data files. */
function deliver(name, content) {
  waiting.get(name)?.(content);
}

/** Ask for `data/<name>.js`; rejects where there is no such file. */
function request(name) {
  return new Promise((resolve, reject) => {
    const script = make("script", { src: `data/${name.split("/").map(encodeURIComponent).join("/")}.js` });
    const end = (settle) => (value) => {
      waiting.delete(name);
      script.remove();
      settle(value);
    };
    waiting.set(name, end(resolve));
    script.onerror = () => end(reject)(new Error(`data/${name}.js cannot be read`));
    document.head.append(script);
  });
}

/** Bytes of a base64 text. */
function bytesOf(text) {
  if (Uint8Array.fromBase64) return Uint8Array.fromBase64(text);
  const binary = atob(text);
  const bytes = new Uint8Array(binary.length);
  for (let at = 0; at < binary.length; at += 1) bytes[at] = binary.charCodeAt(at);
  return bytes;
}

const NOTHING = "–";

/** One figure or word of every study. `numbers` (NaN: missing), or `codes` of `categories`, or `lines`. */
class Column {
  constructor(described, packed) {
    Object.assign(this, described);
    if (packed.numbers !== undefined) this.numbers = new Float32Array(bytesOf(packed.numbers).buffer);
    if (packed.lines !== undefined) this.lines = packed.lines.split("\n");
    if (packed.codes !== undefined) {
      const Codes = { 1: Uint8Array, 2: Uint16Array, 4: Uint32Array }[packed.width];
      this.codes = new Codes(bytesOf(packed.codes).buffer);
      this.categories = packed.categories;
    }
  }

  get isNumber() {
    return this.numbers !== undefined;
  }

  /** What stands in the table. */
  text(row) {
    if (this.isNumber) return this.format(this.numbers[row]);
    return (this.codes ? this.categories[this.codes[row]] : this.lines[row]) || NOTHING;
  }

  format(value) {
    if (!Number.isFinite(value)) return NOTHING;
    if (value === 0) return "0";
    if (this.decimals === null) {
      const [mantissa, exponent] = value.toExponential(2).split("e");
      return `${mantissa.replace("-", "−")} × 10${raised(Number(exponent))}`;
    }
    const text = value.toFixed(this.decimals).replace("-", "−");
    return this.decimals === 0 && Math.abs(value) >= 10000 ? grouped(text) : text;
  }

  /** Numbers that sort like the values; NaN for what is missing. */
  sortKeys() {
    if (this.isNumber) return this.numbers;
    if (this.codes) {
      const none = this.categories.indexOf("");
      return Float32Array.from(this.codes, (code) => (code === none ? NaN : code));
    }
    if (!this.ranks) {
      const order = Uint32Array.from(this.lines.keys());
      order.sort((a, b) => (this.lines[a] < this.lines[b] ? -1 : 1));
      this.ranks = new Float32Array(order.length);
      order.forEach((row, rank) => (this.ranks[row] = rank));
    }
    return this.ranks;
  }

  /** Smallest and greatest number; both NaN where there is none. */
  get extent() {
    if (!this.known) {
      let [low, high] = [Infinity, -Infinity];
      for (const value of this.numbers) {
        if (value < low) low = value;
        if (value > high) high = value;
      }
      this.known = low <= high ? [low, high] : [NaN, NaN];
    }
    return this.known;
  }

  /** Name with units, for axes and headings. */
  get label() {
    return this.units ? `${this.title} (${this.units})` : this.title;
  }
}

/** The whole cohort: what there is, and its columns as they are asked for. */
class Cohort {
  constructor(head) {
    Object.assign(this, head);
    this.described = new Map(head.columns.map((column) => [column.name, column]));
    this.promised = new Map();
    this.loaded = new Map();
  }

  static async open() {
    return new Cohort(await request("cohort"));
  }

  has(name) {
    return this.described.has(name);
  }

  /** A column, read when it is first asked for. */
  column(name) {
    if (!this.promised.has(name)) {
      const read = request(`columns/${name}`).then((packed) => {
        const column = new Column(this.described.get(name), packed);
        this.loaded.set(name, column);
        return column;
      });
      this.promised.set(name, read);
    }
    return this.promised.get(name);
  }

  columnsNamed(names) {
    return Promise.all(names.filter((name) => this.has(name)).map((name) => this.column(name)));
  }

  /** Names of columns by group, in order. */
  groups() {
    const groups = new Map();
    for (const { name, group } of this.columns) groups.set(group, [...(groups.get(group) ?? []), name]);
    return groups;
  }
}
