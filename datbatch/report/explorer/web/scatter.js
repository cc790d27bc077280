"use strict";
// The scatter: which part of the plane is seen, what is under the pointer, what is selected.

const MARGIN = { left: 52, right: 14, top: 30, bottom: 46 };
const REACH = 12;
const ZOOM_STEP = 1.4;

class Scatter {
  /**
   * @param {object} asked  what to do: `select(mask or null, add)`, `open(row)`, `tell(row)` (-1 for nothing).
   */
  constructor(canvas, tip, asked) {
    Object.assign(this, { canvas, tip, asked, moving: false, under: -1, opened: -1, drag: null });
    this.draw = oncePerFrame(() => this.drawNow());
    new ResizeObserver(() => this.draw()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.press(event));
    canvas.addEventListener("pointermove", (event) => this.follow(event));
    canvas.addEventListener("pointerup", (event) => this.release(event));
    canvas.addEventListener("pointercancel", () => this.endDrag());
    canvas.addEventListener("pointerleave", () => this.point(-1));
    canvas.addEventListener("wheel", (event) => this.turn(event), { passive: false });
    canvas.addEventListener("keydown", (event) => this.key(event));
  }

  /** Show two columns; the view goes to all points. */
  show(xColumn, yColumn) {
    Object.assign(this, { xColumn, yColumn, data: { xs: xColumn.numbers, ys: yColumn.numbers } });
    this.grid = new PointGrid(this.data.xs, this.data.ys, xColumn.extent, yColumn.extent);
    this.under = -1;
    this.showAll();
  }

  /** Colour the points; those whose byte in `chosen` is 0 go into the background. */
  paint(colouring, chosen) {
    Object.assign(this, { colouring, chosen });
    this.draw();
  }

  showAll() {
    const padded = ([low, high]) => {
      if (!Number.isFinite(low)) return [0, 1];
      const pad = 0.04 * (high - low) || Math.abs(low) * 0.1 || 1;
      return [low - pad, high + pad];
    };
    const [[x0, x1], [y0, y1]] = [padded(this.xColumn.extent), padded(this.yColumn.extent)];
    this.view = { x0, x1, y0, y1 };
    this.draw();
  }

  /** Where the plane lies on the canvas. */
  place() {
    const { clientWidth, clientHeight } = this.canvas;
    const [left, top] = [MARGIN.left, MARGIN.top];
    const width = Math.max(20, clientWidth - left - MARGIN.right);
    const height = Math.max(20, clientHeight - top - MARGIN.bottom);
    const { x0, x1, y0, y1 } = this.view;
    return {
      left, top, width, height,
      x: (value) => left + ((value - x0) / (x1 - x0)) * width,
      y: (value) => top + ((y1 - value) / (y1 - y0)) * height,
      valueX: (x) => x0 + ((x - left) / width) * (x1 - x0),
      valueY: (y) => y1 - ((y - top) / height) * (y1 - y0),
    };
  }

  drawNow() {
    if (!this.data || !this.colouring || this.canvas.clientWidth === 0) return;
    const surface = fitted(this.canvas);
    const { context } = surface;
    const place = this.place();
    context.clearRect(0, 0, surface.width, surface.height);
    drawAxes(surface, place, this.view, this.xColumn, this.yColumn);
    context.save();
    context.beginPath();
    context.rect(place.left, place.top, place.width, place.height);
    context.clip();
    const draw = this.data.xs.length > MARKS_AT_MOST ? drawDensity : drawMarks;
    draw(surface, place, this.data, this.colouring, this.chosen);
    this.ring(context, place, this.opened, "#1a1a1a", 3);
    this.ring(context, place, this.under, "#00558c", 2);
    context.restore();
    this.drawBox(context);
  }

  ring(context, place, row, colour, width) {
    if (row < 0) return;
    context.beginPath();
    context.arc(place.x(this.data.xs[row]), place.y(this.data.ys[row]), 9, 0, 2 * Math.PI);
    context.lineWidth = width + 2;
    context.strokeStyle = "white";
    context.stroke();
    context.lineWidth = width;
    context.strokeStyle = colour;
    context.stroke();
  }

  drawBox(context) {
    if (!this.drag || this.drag.moves || !this.drag.far) return;
    const { x0, y0, x1, y1 } = this.drag;
    context.fillStyle = "rgb(0 85 140 / 0.12)";
    context.strokeStyle = "#00558c";
    context.lineWidth = 1.5;
    context.fillRect(x0, y0, x1 - x0, y1 - y0);
    context.strokeRect(x0, y0, x1 - x0, y1 - y0);
  }

  /** The study at a place of the canvas: a chosen one where there is one, else any; -1 for none. */
  rowAt(x, y) {
    const place = this.place();
    const [xRadius, yRadius] = [
      (REACH / place.width) * (this.view.x1 - this.view.x0), (REACH / place.height) * (this.view.y1 - this.view.y0),
    ];
    const near = (accept) => this.grid.nearest(place.valueX(x), place.valueY(y), xRadius, yRadius, accept);
    const chosen = near((row) => this.chosen[row] === 1);
    return chosen >= 0 ? chosen : near(() => true);
  }

  /** Mark a study as the one under the pointer. */
  point(row) {
    if (row === this.under) return;
    this.under = row;
    this.tip.hidden = row < 0;
    this.canvas.style.cursor = row < 0 ? "crosshair" : "pointer";
    this.asked.tell(row);
    if (row >= 0) {
      const place = this.place();
      const [x, y] = [place.x(this.data.xs[row]), place.y(this.data.ys[row])];
      this.tip.style.left = `${Math.min(x + 14, this.canvas.clientWidth - this.tip.offsetWidth - 4)}px`;
      this.tip.style.top = `${y > 80 ? y - this.tip.offsetHeight - 10 : y + 14}px`;
    }
    this.draw();
  }

  press(event) {
    if (event.button !== 0) return;
    this.canvas.setPointerCapture(event.pointerId);
    const { offsetX: x, offsetY: y } = event;
    this.drag = { x0: x, y0: y, x1: x, y1: y, far: false, moves: this.moving, view: { ...this.view } };
  }

  follow(event) {
    const { offsetX: x, offsetY: y } = event;
    if (!this.drag) {
      this.point(this.rowAt(x, y));
      return;
    }
    Object.assign(this.drag, { x1: x, y1: y });
    this.drag.far ||= Math.hypot(x - this.drag.x0, y - this.drag.y0) > 4;
    if (this.drag.far) this.point(-1);
    if (this.drag.moves) this.shift(x - this.drag.x0, y - this.drag.y0, this.drag.view);
    this.draw();
  }

  release(event) {
    if (!this.drag) return;
    const { x0, y0, x1, y1, far, moves } = this.drag;
    this.endDrag();
    if (!far) {
      const row = this.rowAt(event.offsetX, event.offsetY);
      if (row >= 0) this.asked.open(row);
    } else if (!moves) this.selectBox(Math.min(x0, x1), Math.min(y0, y1), Math.max(x0, x1), Math.max(y0, y1), event.shiftKey);
  }

  endDrag() {
    this.drag = null;
    this.draw();
  }

  selectBox(left, top, right, bottom, add) {
    const place = this.place();
    const mask = new Uint8Array(this.data.xs.length);
    this.grid.within(place.valueX(left), place.valueX(right), place.valueY(bottom), place.valueY(top), (row) => (mask[row] = 1));
    this.asked.select(mask, add);
  }

  /** Move the view by pixels. */
  shift(dx, dy, { x0, x1, y0, y1 } = this.view) {
    const { width, height } = this.place();
    const [x, y] = [(dx / width) * (x1 - x0), (dy / height) * (y1 - y0)];
    this.view = { x0: x0 - x, x1: x1 - x, y0: y0 + y, y1: y1 + y };
    this.draw();
  }

  /** Zoom about a place of the canvas, by default its middle. */
  zoom(factor, x = null, y = null) {
    const place = this.place();
    const [cx, cy] = [
      place.valueX(x ?? place.left + place.width / 2), place.valueY(y ?? place.top + place.height / 2),
    ];
    const { x0, x1, y0, y1 } = this.view;
    this.view = {
      x0: cx + (x0 - cx) / factor, x1: cx + (x1 - cx) / factor, y0: cy + (y0 - cy) / factor, y1: cy + (y1 - cy) / factor,
    };
    this.draw();
  }

  turn(event) {
    event.preventDefault();
    this.zoom(event.deltaY < 0 ? ZOOM_STEP : 1 / ZOOM_STEP, event.offsetX, event.offsetY);
  }

  key(event) {
    const direction = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] }[event.key];
    const action = {
      Enter: () => this.under >= 0 && this.asked.open(this.under),
      "+": () => this.zoom(ZOOM_STEP),
      "=": () => this.zoom(ZOOM_STEP),
      "-": () => this.zoom(1 / ZOOM_STEP),
      0: () => this.showAll(),
      Escape: () => this.asked.select(null, false),
    }[event.key];
    if (direction && event.shiftKey) this.shift(-40 * direction[0], -40 * direction[1]);
    else if (direction) this.step(...direction);
    else if (action) action();
    else return;
    event.preventDefault();
  }

  /** Go to the nearest chosen point in a direction; the first step goes to the middle of the view. */
  step(dx, dy) {
    const place = this.place();
    const { xs, ys } = this.data;
    const starts = this.under >= 0;
    const x0 = starts ? place.x(xs[this.under]) : place.left + place.width / 2;
    const y0 = starts ? place.y(ys[this.under]) : place.top + place.height / 2;
    let [best, least] = [-1, Infinity];
    for (let row = 0; row < xs.length; row += 1) {
      if (!this.chosen[row] || row === this.under) continue;
      const [x, y] = [place.x(xs[row]) - x0, place.y(ys[row]) - y0];
      const [ahead, aside] = [x * dx + y * dy, Math.abs(x * dy) + Math.abs(y * dx)];
      const far = starts ? (ahead > 0 ? ahead + 2 * aside : Infinity) : Math.hypot(x, y);
      if (far < least) [best, least] = [row, far];
    }
    if (best < 0) return;
    const [x, y] = [place.x(xs[best]), place.y(ys[best])];
    if (x < place.left || x > place.left + place.width || y < place.top || y > place.top + place.height)
      this.shift(x0 - x, y0 - y);
    this.point(best);
  }
}
