// The view in space without WebGL: pictures that the server draws.

import { address } from "./api.js";

const PAUSE_MS = 120;

/** The same questions as Stage, as far as pictures can answer them. */
export class Still {
  constructor(holder, onState) {
    this.holder = holder;
    this.onState = onState;
    this.image = document.createElement("img");
    this.image.alt = "The volume, drawn by the server";
    this.image.draggable = false;
    holder.prepend(this.image);
    this.showAll();
    this.#followPointer();
    new ResizeObserver(() => this.#later()).observe(holder);
  }

  showAll() {
    this.angle = { turn: 28.8, tilt: 18.4 };
    this.#later();
  }

  turn(across, up) {
    this.angle.turn = (this.angle.turn + across) % 360;
    this.angle.tilt = Math.min(88, Math.max(-88, this.angle.tilt + up));
    this.#later();
  }

  /** What to draw: parameters of the question "picture". */
  show(parameters) {
    this.parameters = parameters;
    this.#later();
  }

  #later() {
    clearTimeout(this.waiting);
    this.waiting = setTimeout(() => this.#draw(), PAUSE_MS);
  }

  async #draw() {
    if (!this.parameters) return;
    const scale = Math.min(1, 560 / Math.max(1, this.holder.clientWidth, this.holder.clientHeight));
    const size = (side) => Math.max(16, Math.round(side * scale));
    const wanted = {
      ...this.parameters, turn: this.angle.turn.toFixed(1), tilt: this.angle.tilt.toFixed(1),
      width: size(this.holder.clientWidth), height: size(this.holder.clientHeight),
    };
    const current = (this.current = address("picture", wanted));
    this.onState(true, null);
    try {
      const answer = await fetch(current);
      if (!answer.ok) throw new Error((await answer.json()).error);
      const data = URL.createObjectURL(await answer.blob());
      if (current !== this.current) return URL.revokeObjectURL(data);
      URL.revokeObjectURL(this.image.src);
      this.image.src = data;
      this.onState(false, null);
    } catch (error) {
      if (current === this.current) this.onState(false, error);
    }
  }

  #followPointer() {
    this.holder.addEventListener("pointerdown", (event) => this.holder.setPointerCapture(event.pointerId));
    this.holder.addEventListener("pointermove", (event) => {
      if (event.buttons) this.turn(-0.5 * event.movementX, 0.5 * event.movementY);
    });
  }
}
