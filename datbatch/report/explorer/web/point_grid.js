"use strict";
// Points sorted into the cells of a grid, so that those near a place are found without looking at all of them.

class PointGrid {
  /** @param {Float32Array} xs, ys  one number for each study; studies without both are left out. */
  constructor(xs, ys, [xLow, xHigh], [yLow, yHigh]) {
    Object.assign(this, { xs, ys, xLow, yLow });
    this.side = Math.max(1, Math.min(512, Math.round(Math.sqrt(xs.length / 4))));
    this.xScale = this.side / (xHigh - xLow || 1);
    this.yScale = this.side / (yHigh - yLow || 1);
    const cells = this.side * this.side;
    this.starts = new Uint32Array(cells + 1);
    const cellOf = new Int32Array(xs.length);
    for (let row = 0; row < xs.length; row += 1) {
      const known = xs[row] - xs[row] === 0 && ys[row] - ys[row] === 0;
      cellOf[row] = known ? this.column(xs[row]) + this.side * this.line(ys[row]) : -1;
      if (known) this.starts[cellOf[row] + 1] += 1;
    }
    for (let cell = 0; cell < cells; cell += 1) this.starts[cell + 1] += this.starts[cell];
    this.rows = new Uint32Array(this.starts[cells]);
    const next = this.starts.slice();
    for (let row = 0; row < xs.length; row += 1) if (cellOf[row] >= 0) this.rows[next[cellOf[row]]++] = row;
  }

  column(x) {
    return Math.max(0, Math.min(this.side - 1, Math.floor((x - this.xLow) * this.xScale)));
  }

  line(y) {
    return Math.max(0, Math.min(this.side - 1, Math.floor((y - this.yLow) * this.yScale)));
  }

  /** Call `visit` for each row inside a rectangle. */
  within(xLow, xHigh, yLow, yHigh, visit) {
    const [left, right] = [this.column(xLow), this.column(xHigh)];
    for (let line = this.line(yLow); line <= this.line(yHigh); line += 1) {
      const end = this.starts[line * this.side + right + 1];
      for (let at = this.starts[line * this.side + left]; at < end; at += 1) {
        const row = this.rows[at];
        const [x, y] = [this.xs[row], this.ys[row]];
        if (x >= xLow && x <= xHigh && y >= yLow && y <= yHigh) visit(row);
      }
    }
  }

  /** The row nearest to a place, no farther than the radii of an ellipse; -1 for none. */
  nearest(x, y, xRadius, yRadius, accept) {
    let [best, least] = [-1, 1];
    this.within(x - xRadius, x + xRadius, y - yRadius, y + yRadius, (row) => {
      const far = ((this.xs[row] - x) / xRadius) ** 2 + ((this.ys[row] - y) / yRadius) ** 2;
      if (far <= least && accept(row)) [best, least] = [row, far];
    });
    return best;
  }
}
