"use strict";
// One study's volumes as three orthogonal planes with a common cursor: a quick look, on the canvas alone.

const HOT_IRON = [[0, [0, 0, 0]], [0.5, [255, 0, 0]], [0.75, [255, 128, 0]], [1, [255, 255, 255]]];
const GREY = [[0, [0, 0, 0]], [1, [204, 204, 204]]];
const OVERLAY = [
  [0, [166, 242, 255]], [0.25, [26, 153, 255]], [0.5, [13, 38, 153]],
  [0.5, [153, 13, 13]], [0.75, [255, 89, 0]], [1, [255, 242, 102]],
];
/** Shares of its scale from which relevance shows through, and from which it hides the uptake. */
const VISIBLE = 0.06;
const OPAQUE = 0.4;
/** Where the cursor stands first, in the store's frame: the ipsilateral putamen. */
const FIRST_MM = [-24, 4, 4];

/** Colours of 256 equal steps. */
function colourTable(stops) {
  const table = new Uint8ClampedArray(3 * 256);
  for (let step = 0; step < 256; step += 1) {
    const share = step / 255;
    const after = Math.max(1, stops.findIndex(([place]) => place >= share && place > 0));
    const [[start, from], [end, to]] = [stops[after - 1], stops[after]];
    const part = end > start ? (share - start) / (end - start) : 1;
    for (let channel = 0; channel < 3; channel += 1) table[3 * step + channel] = from[channel] + part * (to[channel] - from[channel]);
  }
  return table;
}

const TABLES = { uptake: colourTable(HOT_IRON), grey: colourTable(GREY), relevance: colourTable(OVERLAY) };

async function inflated(text) {
  const stream = new Blob([bytesOf(text)]).stream().pipeThrough(new DecompressionStream("deflate"));
  return new Int8Array(await new Response(stream).arrayBuffer());
}

/** Fill in the voxels between those of the half grid along one axis, by cubic interpolation (Catmull-Rom). */
function doubled(values, shape, axis) {
  const stride = shape.slice(axis + 1).reduce((product, length) => product * length, 1);
  const [half, full] = [shape[axis], 2 * shape[axis] - 1];
  const outer = values.length / (stride * half);
  const found = new Float32Array(outer * full * stride);
  for (let block = 0; block < outer; block += 1) {
    const [from, to] = [block * half * stride, block * full * stride];
    for (let at = 0; at < full; at += 1) {
      const near = Math.floor(at / 2);
      const place = (index) => from + Math.max(0, Math.min(half - 1, index)) * stride;
      const [a, b, c, d] = [place(near - 1), place(near), place(near + 1), place(near + 2)];
      for (let inner = 0; inner < stride; inner += 1)
        found[to + at * stride + inner] =
          at % 2 === 0
            ? values[b + inner]
            : (9 * (values[b + inner] + values[c + inner]) - values[a + inner] - values[d + inner]) / 16;
    }
  }
  return found;
}

/** The volume on the grid of the store, from what the file holds. */
async function unpackedVolume(packed, shape) {
  let values = Float32Array.from(await inflated(packed.data), (steps) => steps * packed.step);
  const now = shape.map((length) => (length + 1) / 2);
  for (let axis = 0; axis < 3; axis += 1) {
    values = doubled(values, now, axis);
    now[axis] = shape[axis];
  }
  return values;
}

/** Each plane: its name, the axis it cuts, the axes that run along its width and height. */
const CUTS = [
  { name: "transaxial", across: 2, along: 0, up: 1 },
  { name: "coronal", across: 1, along: 0, up: 2 },
  { name: "sagittal", across: 0, along: 1, up: 2 },
];
const AXES = ["x", "y", "z"];

class Planes {
  constructor(grid, scales) {
    Object.assign(this, { shape: grid.shape, origin: grid.origin_mm, spacing: grid.spacing_mm, scales });
    this.overlay = true;
    this.asAcquired = true;
    this.draw = oncePerFrame(() => this.drawNow());
    this.views = CUTS.map((cut) => this.view(cut));
    this.readout = make("p", { className: "readout" });
    this.legend = make("div");
    this.element = make("div", { className: "planes" }, ...this.views.map(({ figure }) => figure));
  }

  view(cut) {
    const canvas = make("canvas", {
      tabIndex: 0, role: "application", width: this.shape[cut.along], height: this.shape[cut.up],
      onpointerdown: (event) => (canvas.setPointerCapture(event.pointerId), this.pick(cut, canvas, event)),
      onpointermove: (event) => event.buttons === 1 && this.pick(cut, canvas, event),
      onwheel: (event) => (event.preventDefault(), this.step(cut.across, event.deltaY < 0 ? 1 : -1)),
      onkeydown: (event) => this.key(cut, event),
    });
    canvas.dataset.plane = cut.name;
    canvas.style.aspectRatio = `${this.shape[cut.along]} / ${this.shape[cut.up]}`;
    const [left, right] = [make("span", { className: "mark left" }), make("span", { className: "mark right" })];
    const caption = make("figcaption");
    return { cut, canvas, left, right, caption, figure: make("figure", { className: cut.name }, canvas, left, right, caption) };
  }

  /** Show the volumes of a study; `content` is what its file holds. */
  async show(content) {
    const volumes = await Promise.all(
      [content.uptake, content.relevance].map((packed) => packed && unpackedVolume(packed, this.shape)),
    );
    [this.uptake, this.relevance] = volumes;
    this.content = content;
    this.cursor = FIRST_MM.map((mm, axis) => Math.round((mm - this.origin[axis]) / this.spacing));
    if (this.flipped) this.cursor[0] = this.shape[0] - 1 - this.cursor[0];
    this.drawNow();
  }

  /** Whether low x of the picture is high x of the store. */
  get flipped() {
    return this.asAcquired && this.content.mirrored;
  }

  /** Choose the patient's own left and right, or the store's ipsilateral and contralateral side. */
  setFrame(asAcquired) {
    const before = this.flipped;
    this.asAcquired = asAcquired;
    if (this.flipped !== before) this.cursor[0] = this.shape[0] - 1 - this.cursor[0];
    this.draw();
  }

  setOverlay(shown) {
    this.overlay = shown;
    this.draw();
  }

  get overlaid() {
    return this.overlay && this.relevance !== null;
  }

  explainColours() {
    const bars = [scaleBar(this.overlaid ? GREY : HOT_IRON, "0", "uptake over reference", this.scales.uptake.toPrecision(2))];
    if (this.overlaid) bars.push(scaleBar(OVERLAY, "normal", "relevance: what speaks for which class", "reduced"));
    this.legend.replaceChildren(...bars);
  }

  /** Place of a voxel in the arrays, from the cursor's frame. */
  at([x, y, z]) {
    return ((this.flipped ? this.shape[0] - 1 - x : x) * this.shape[1] + y) * this.shape[2] + z;
  }

  /** Column of the picture of an index, and back: x and y grow to the left (radiological convention; anterior left). */
  turned(axis, index) {
    return this.shape[axis] - 1 - index;
  }

  drawNow() {
    if (!this.content) return;
    for (const view of this.views) this.drawView(view);
    this.explainColours();
    const millimetres = this.cursor.map((index, axis) => this.origin[axis] + this.spacing * index);
    const place = this.at(this.cursor);
    const written = (value, digits) => value.toPrecision(digits).replace("-", "−");
    this.readout.textContent =
      `x ${millimetres[0]}, y ${millimetres[1]}, z ${millimetres[2]} mm: uptake ${written(this.uptake[place], 3)}` +
      (this.relevance ? `, relevance ${written(this.relevance[place] / this.scales.relevance, 2)} of the scale` : "");
    this.readout.textContent = this.readout.textContent.replaceAll(" -", " −");
  }

  drawView({ cut, canvas, left, right, caption }) {
    const [width, height] = [this.shape[cut.along], this.shape[cut.up]];
    const picture = new ImageData(width, height);
    const { overlaid } = this;
    const below = overlaid ? TABLES.grey : TABLES.uptake;
    const voxel = [...this.cursor];
    for (let row = 0, pixel = 0; row < height; row += 1) {
      voxel[cut.up] = this.turned(cut.up, row);
      for (let column = 0; column < width; column += 1, pixel += 4) {
        voxel[cut.along] = this.turned(cut.along, column);
        const place = this.at(voxel);
        const step = Math.max(0, Math.min(255, Math.round((255 * this.uptake[place]) / this.scales.uptake)));
        const share = overlaid ? this.relevance[place] / this.scales.relevance : 0;
        const opacity = Math.max(0, Math.min(1, (Math.abs(share) - VISIBLE) / (OPAQUE - VISIBLE)));
        const above = Math.max(0, Math.min(255, Math.round(127.5 * (1 + share))));
        for (let channel = 0; channel < 3; channel += 1)
          picture.data[pixel + channel] =
            (1 - opacity) * below[3 * step + channel] + opacity * TABLES.relevance[3 * above + channel];
        picture.data[pixel + 3] = 255;
      }
    }
    const small = make("canvas", { width, height });
    small.getContext("2d").putImageData(picture, 0, 0);
    const surface = fitted(canvas);
    surface.context.imageSmoothingQuality = "high";
    surface.context.drawImage(small, 0, 0, surface.width, surface.height);
    this.drawCross(surface, cut);
    this.tell({ cut, canvas, left, right, caption });
  }

  drawCross({ context, width, height }, cut) {
    const x = ((this.turned(cut.along, this.cursor[cut.along]) + 0.5) / this.shape[cut.along]) * width;
    const y = ((this.turned(cut.up, this.cursor[cut.up]) + 0.5) / this.shape[cut.up]) * height;
    const gap = 7;
    context.strokeStyle = "rgb(120 230 255 / 0.85)";
    context.lineWidth = 1;
    context.beginPath();
    for (const [x0, y0, x1, y1] of [[0, y, x - gap, y], [x + gap, y, width, y], [x, 0, x, y - gap], [x, y + gap, x, height]]) {
      context.moveTo(x0, y0);
      context.lineTo(x1, y1);
    }
    context.stroke();
  }

  tell({ cut, canvas, left, right, caption }) {
    const marks = this.asAcquired ? this.content.patient_marks : this.content.store_marks;
    const [low, high] = cut.along === 0 ? marks : ["P", "A"];
    // The picture's left is the high end of its axis.
    left.textContent = high;
    right.textContent = low;
    const millimetres = this.origin[cut.across] + this.spacing * this.cursor[cut.across];
    caption.textContent = `${cut.name}, ${AXES[cut.across]} = ${String(millimetres).replace("-", "−")} mm`;
    canvas.setAttribute("aria-label", `${caption.textContent}; left of the picture is ${high}. Arrow keys move the cursor, Page Up and Down the plane.`);
  }

  pick(cut, canvas, event) {
    const index = (axis, share) => this.turned(axis, Math.max(0, Math.min(this.shape[axis] - 1, Math.floor(share * this.shape[axis]))));
    this.cursor[cut.along] = index(cut.along, event.offsetX / canvas.clientWidth);
    this.cursor[cut.up] = index(cut.up, event.offsetY / canvas.clientHeight);
    this.draw();
  }

  step(axis, by) {
    this.cursor[axis] = Math.max(0, Math.min(this.shape[axis] - 1, this.cursor[axis] + by));
    this.draw();
  }

  key(cut, event) {
    const move = {
      ArrowLeft: [cut.along, 1], ArrowRight: [cut.along, -1], ArrowUp: [cut.up, 1], ArrowDown: [cut.up, -1],
      PageUp: [cut.across, 1], PageDown: [cut.across, -1],
    }[event.key];
    if (!move) return;
    event.preventDefault();
    this.step(...move);
  }
}

/** A bar that explains a scale of colours. */
function scaleBar(stops, low, title, high) {
  const bar = make("span", { className: "bar" });
  const places = stops.map(([place, colour]) => `${css(colour)} ${100 * place}%`);
  bar.style.background = `linear-gradient(to right, ${places.join(", ")})`;
  return make("p", { className: "scale" }, make("span", {}, low), bar, make("span", {}, high), make("span", { className: "title" }, title));
}
