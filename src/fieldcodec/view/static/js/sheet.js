// One layer of voxels on a canvas: every voxel is a rectangle in its colour; wheel, pinch and drag zoom and move.

import { paint } from "./colours.js";

const MOST_ZOOM = 64;

export class Sheet {
  /** `onPoint` hears of the voxel under the pointer: {column, row, value} or null. */
  constructor(canvas, onPoint) {
    this.canvas = canvas;
    this.context = canvas.getContext("2d");
    this.picture = document.createElement("canvas");
    this.onPoint = onPoint;
    this.view = { zoom: 1, x: 0, y: 0 };
    this.pointers = new Map();
    this.#follow();
    new ResizeObserver(() => this.draw()).observe(canvas);
  }

  /**
   * values: {data, shape: [H, W]}; aspect: width of a voxel by its height; look: {colours, scale}.
   * line: the value at which a line is drawn, or null.
   */
  show(values, aspect, look, line) {
    const [height, width] = values.shape;
    Object.assign(this, { values, aspect, line });
    this.picture.width = width;
    this.picture.height = height;
    const image = new ImageData(width, height);
    paint(values.data, look.colours, look.scale, image.data);
    this.picture.getContext("2d").putImageData(image, 0, 0);
    this.draw();
  }

  clear() {
    this.values = null;
    this.draw();
  }

  showAll() {
    this.view = { zoom: 1, x: 0, y: 0 };
    this.draw();
  }

  draw() {
    const ratio = Math.min(2, devicePixelRatio);
    const width = Math.round(this.canvas.clientWidth * ratio);
    const height = Math.round(this.canvas.clientHeight * ratio);
    if (this.canvas.width !== width || this.canvas.height !== height) Object.assign(this.canvas, { width, height });
    this.context.clearRect(0, 0, width, height);
    if (!this.values || !width) return;
    const { left, top, across, down } = this.#place();
    const [rows, columns] = this.values.shape;
    this.context.imageSmoothingEnabled = across < columns; // smaller than the voxels: mean colours
    this.context.imageSmoothingQuality = "high";
    this.context.drawImage(this.picture, left, top, across, down);
    if (this.line !== null) this.#drawLine(left, top, across / columns, down / rows, ratio);
  }

  /** Where the layer lies on the canvas, in its pixels. */
  #place() {
    const [rows, columns] = this.values.shape;
    const { width, height } = this.canvas;
    const fit = 0.82 * Math.min(width / (columns * this.aspect), height / rows) * this.view.zoom;
    const [across, down] = [columns * this.aspect * fit, rows * fit];
    return { left: (width - across) / 2 + this.view.x * width, top: (height - down) / 2 + this.view.y * height, across, down };
  }

  /** The line through the middles of voxels where the value is passed (marching squares). */
  #drawLine(left, top, stepX, stepY, ratio) {
    const { data, shape: [rows, columns] } = this.values;
    const path = new Path2D();
    for (let row = 0; row + 1 < rows; row++) {
      for (let column = 0; column + 1 < columns; column++) {
        const at = row * columns + column;
        const corners = [data[at], data[at + 1], data[at + columns + 1], data[at + columns]].map((v) => v - this.line);
        const ends = [];
        for (let side = 0; side < 4; side++) {
          const [a, b] = [corners[side], corners[(side + 1) % 4]];
          if (a > 0 === b > 0) continue;
          const share = a / (a - b);
          const [x, y] = [[share, 0], [1, share], [1 - share, 1], [0, 1 - share]][side];
          ends.push([left + (column + 0.5 + x) * stepX, top + (row + 0.5 + y) * stepY]);
        }
        for (let i = 0; i + 1 < ends.length; i += 2) {
          path.moveTo(...ends[i]);
          path.lineTo(...ends[i + 1]);
        }
      }
    }
    this.context.lineJoin = this.context.lineCap = "round";
    for (const [width, style] of [[3.2, "rgb(0 0 0 / .45)"], [1.5, "#ffffff"]]) {
      this.context.lineWidth = width * ratio;
      this.context.strokeStyle = style;
      this.context.stroke(path);
    }
  }

  #voxelAt(event) {
    if (!this.values) return null;
    const ratio = this.canvas.width / this.canvas.clientWidth;
    const { left, top, across, down } = this.#place();
    const [rows, columns] = this.values.shape;
    const column = Math.floor(((event.offsetX * ratio - left) / across) * columns);
    const row = Math.floor(((event.offsetY * ratio - top) / down) * rows);
    if (column < 0 || row < 0 || column >= columns || row >= rows) return null;
    return { column, row, value: this.values.data[row * columns + column] };
  }

  #zoomAt(x, y, factor) {
    const zoom = Math.min(MOST_ZOOM, Math.max(1, this.view.zoom * factor));
    const real = zoom / this.view.zoom;
    this.view.x = x - (x - this.view.x) * real;
    this.view.y = y - (y - this.view.y) * real;
    this.view.zoom = zoom;
    if (zoom === 1) this.view.x = this.view.y = 0;
    this.draw();
  }

  #follow() {
    const { canvas, pointers } = this;
    const share = (event) => [event.offsetX / canvas.clientWidth - 0.5, event.offsetY / canvas.clientHeight - 0.5];
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.#zoomAt(...share(event), Math.exp(-0.0015 * event.deltaY));
    }, { passive: false });
    canvas.addEventListener("dblclick", () => this.showAll());
    canvas.addEventListener("pointerdown", (event) => {
      canvas.setPointerCapture(event.pointerId);
      pointers.set(event.pointerId, share(event));
    });
    for (const name of ["pointerup", "pointercancel"]) {
      canvas.addEventListener(name, (event) => pointers.delete(event.pointerId));
    }
    canvas.addEventListener("pointerleave", () => this.onPoint(null));
    canvas.addEventListener("pointermove", (event) => {
      this.onPoint(this.#voxelAt(event));
      const before = pointers.get(event.pointerId);
      if (!before) return;
      const now = share(event);
      const other = [...pointers].find(([id]) => id !== event.pointerId)?.[1];
      pointers.set(event.pointerId, now);
      if (other) {
        const apart = ([x, y]) => Math.hypot(x - other[0], y - other[1]) || 1e-6;
        this.#zoomAt((now[0] + other[0]) / 2, (now[1] + other[1]) / 2, apart(now) / apart(before));
      } else if (this.view.zoom > 1) {
        this.view.x += now[0] - before[0];
        this.view.y += now[1] - before[1];
        this.draw();
      }
    });
  }
}
