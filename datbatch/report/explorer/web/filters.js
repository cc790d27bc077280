"use strict";
// Filters: each takes rows out of a mask (one byte a study) and says in words what it lets through.

class RangeFilter {
  constructor(column, low, high) {
    Object.assign(this, { key: column.name, column, low, high });
  }

  apply(mask) {
    const { low, high } = this;
    const { numbers } = this.column;
    // Written so that NaN, which is neither above nor below, is taken out.
    for (let row = 0; row < mask.length; row += 1) if (!(numbers[row] >= low && numbers[row] <= high)) mask[row] = 0;
  }

  get words() {
    const { column, low, high } = this;
    if (low === -Infinity) return `${column.title} ≤ ${column.format(high)}`;
    if (high === Infinity) return `${column.title} ≥ ${column.format(low)}`;
    return `${column.title} ${column.format(low)} to ${column.format(high)}`;
  }
}

/** Words that a column's filter offers: categories, or single tags of categories that hold several. */
function offeredWords(column) {
  if (column.kind !== "tags") return column.categories;
  const tags = new Set(column.categories.flatMap((category) => category.split(" ")));
  return [...tags].sort((a, b) => (a === "") - (b === "") || (a < b ? -1 : 1));
}

/** Whether each category of a column bears one of the words. */
function categoriesWith(column, words) {
  return column.categories.map((category) =>
    column.kind === "tags" ? category.split(" ").some((tag) => words.has(tag)) : words.has(category),
  );
}

class WordsFilter {
  constructor(column, words) {
    Object.assign(this, { key: column.name, column, chosen: new Set(words) });
  }

  apply(mask) {
    const allowed = Uint8Array.from(categoriesWith(this.column, this.chosen));
    const { codes } = this.column;
    for (let row = 0; row < mask.length; row += 1) mask[row] &= allowed[codes[row]];
  }

  get words() {
    const told = [...this.chosen].map((word) => word || "none");
    return `${this.column.title}: ${told.length > 3 ? `${told.length} values` : told.join(", ") || "nothing"}`;
  }
}

/** Studies one of whose texts holds what is sought, whatever its case. */
class SearchFilter {
  constructor(columns, sought) {
    Object.assign(this, { key: "search", columns, sought: sought.toLowerCase() });
  }

  apply(mask) {
    const holds = (text) => text.toLowerCase().includes(this.sought);
    const found = new Uint8Array(mask.length);
    for (const { codes, categories, lines } of this.columns) {
      const hit = categories?.map(holds);
      for (let row = 0; row < mask.length; row += 1)
        if (mask[row] && !found[row] && (codes ? hit[codes[row]] : holds(lines[row]))) found[row] = 1;
    }
    mask.set(found);
  }

  get words() {
    return `Search: ${this.sought}`;
  }
}

/** Studies selected in the scatter: a mask of its own. */
class SelectionFilter {
  constructor(selected) {
    Object.assign(this, { key: "selection", selected });
  }

  apply(mask) {
    for (let row = 0; row < mask.length; row += 1) mask[row] &= this.selected[row];
  }

  get words() {
    return "Selected in the scatter";
  }
}

/** One byte for each study: 1 where all filters let it through. */
function maskOf(filters, size) {
  const mask = new Uint8Array(size).fill(1);
  for (const filter of filters) filter.apply(mask);
  return mask;
}

/** Rows of a mask, in rising order. */
function rowsOf(mask) {
  let count = 0;
  for (const one of mask) count += one;
  const rows = new Uint32Array(count);
  for (let row = 0, at = 0; row < mask.length; row += 1) if (mask[row]) rows[at++] = row;
  return rows;
}
