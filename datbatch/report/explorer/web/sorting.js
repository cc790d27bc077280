"use strict";
// Sorting rows by a column: a radix sort, which does a million in the time that comparing does fifty thousand.

const RADIX_BITS = [0, 11, 22];
const RADIX = 1 << 11;

/** Unsigned integers that sort like the numbers, or the other way round; NaN comes last either way. */
function sortableBits(keys, rows, descending) {
  const found = new Uint32Array(rows.length);
  const value = new Float32Array(1);
  const pattern = new Uint32Array(value.buffer);
  for (let at = 0; at < rows.length; at += 1) {
    value[0] = keys[rows[at]];
    if (Number.isNaN(value[0])) {
      found[at] = 0xffffffff;
      continue;
    }
    // A float's bits grow with it where it is positive and fall where it is negative.
    const rising = pattern[0] & 0x80000000 ? ~pattern[0] : pattern[0] | 0x80000000;
    found[at] = descending ? ~rising : rising;
  }
  return found;
}

/** The rows in the order of their keys; equal ones stay in the order they come in. */
function sortedRows(rows, keys, descending = false) {
  let bits = sortableBits(keys, rows, descending);
  let [order, nextBits, nextOrder] = [rows.slice(), new Uint32Array(rows.length), new Uint32Array(rows.length)];
  for (const shift of RADIX_BITS) {
    const starts = new Uint32Array(RADIX + 1);
    for (const word of bits) starts[((word >>> shift) & (RADIX - 1)) + 1] += 1;
    for (let digit = 0; digit < RADIX; digit += 1) starts[digit + 1] += starts[digit];
    for (let at = 0; at < bits.length; at += 1) {
      const place = starts[(bits[at] >>> shift) & (RADIX - 1)]++;
      nextBits[place] = bits[at];
      nextOrder[place] = order[at];
    }
    [bits, nextBits] = [nextBits, bits];
    [order, nextOrder] = [nextOrder, order];
  }
  return order;
}
