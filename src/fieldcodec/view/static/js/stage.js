// The view in space, drawn with WebGL: a box of cells, a surface, the frame around them and the layer that is shown.

import {
  BackSide, BoxGeometry, BufferAttribute, BufferGeometry, Color, CustomBlending, Data3DTexture, DataTexture,
  DirectionalLight, DoubleSide, EdgesGeometry, GLSL3, HalfFloatType, HemisphereLight, LinearFilter, LineBasicMaterial,
  LineLoop, LineSegments, Matrix4, Mesh, MeshStandardMaterial, OneFactor, OneMinusSrcAlphaFactor, OrbitControls,
  PerspectiveCamera, RGFormat, Scene, ShaderMaterial, SRGBColorSpace, Vector3, WebGLRenderer,
} from "../vendor/three.js";
import { table } from "./colours.js";
import { fragment, vertex } from "./shaders.js";

const START = new Vector3(0.55, 0.38, 1.0); // from the volume to the camera, as pictures of fieldcodec render
const SETTLE_MS = 220; // without movement, before a fine picture is drawn
const FRAME_MS = 45; // a picture may take while the volume turns
const FINE_MS = 700; // and at rest
const LEAST_SCALE = 0.3;
const FILL = 0.9; // of the picture by the volume

export class Stage {
  /** Throws where the browser has no WebGL 2. */
  constructor(holder) {
    this.holder = holder;
    this.renderer = new WebGLRenderer({ antialias: true, alpha: true, powerPreference: "high-performance" });
    this.renderer.setClearColor(0, 0);
    holder.prepend(this.renderer.domElement);
    this.scene = new Scene();
    this.camera = new PerspectiveCamera(35, 1, 0.01, 50);
    this.scene.add(this.camera, new HemisphereLight(0xdfe9ff, 0x4a4038, 1.15));
    const lamp = new DirectionalLight(0xfff1e0, 2.1);
    lamp.position.set(-0.7, 0.9, 0.4);
    this.camera.add(lamp, lamp.target);
    lamp.target.position.set(0, 0, -1);
    this.controls = new OrbitControls(this.camera, this.renderer.domElement);
    this.controls.rotateSpeed = 0.9;
    this.controls.addEventListener("change", () => this.moved());
    this.controls.addEventListener("start", () => (this.isTouched = true));
    this.scale = 1;
    this.settings = { density: 1, cut: 0 };
    this.#makeVolume();
    this.#makeFrame();
    new ResizeObserver(() => this.#resize()).observe(holder);
    this.#resize();
  }

  /**
   * The box of voxels (smallest and largest index) and its place in the world (rows of the matrix after each other).
   * isKept: of another frame of a sequence; the camera stays, and so does the scale.
   */
  setPlace(box, matrix, isKept) {
    const world = new Matrix4().fromArray(matrix);
    const corners = [];
    for (let i = 0; i < 8; i++) {
      const corner = [0, 1, 2].map((axis) => ((i >> axis) & 1 ? box[1][axis] + 0.5 : box[0][axis] - 0.5));
      corners.push(new Vector3(...corner).applyMatrix4(world));
    }
    const low = corners.reduce((a, b) => a.clone().min(b));
    const high = corners.reduce((a, b) => a.clone().max(b));
    const size = high.clone().sub(low);
    if (!isKept) {
      this.unit = 1 / (Math.max(size.x, size.y, size.z) || 1);
      this.middle = low.clone().add(high).multiplyScalar(0.5);
      this.size = size.multiplyScalar(this.unit);
      this.extinctions = {};
    }
    const { unit, middle } = this;
    this.box = box;
    this.toScene = new Matrix4().makeScale(unit, unit, unit)
      .multiply(new Matrix4().makeTranslation(-middle.x, -middle.y, -middle.z)).multiply(world);
    const sides = [0, 1, 2].map((axis) => box[1][axis] - box[0][axis] + 1);
    this.frame.matrix.copy(this.#cube(box[0], sides));
    if (!isKept) this.showAll();
  }

  /** Looks at the whole volume from the usual side. */
  showAll() {
    const toward = START.clone().normalize();
    const right = new Vector3(0, 1, 0).cross(toward).normalize();
    const up = toward.clone().cross(right);
    const slope = Math.tan((this.camera.fov * Math.PI) / 360) * FILL;
    let distance = 0.1;
    for (let i = 0; i < 8; i++) { // of the box, each must be in the picture
      const corner = new Vector3(i & 1 ? 1 : -1, i & 2 ? 1 : -1, i & 4 ? 1 : -1).multiply(this.size).multiplyScalar(0.5);
      const aside = Math.max(Math.abs(corner.dot(up)), Math.abs(corner.dot(right)) / this.camera.aspect);
      distance = Math.max(distance, aside / slope + corner.dot(toward));
    }
    this.controls.target.set(0, 0, 0);
    this.camera.position.copy(toward).multiplyScalar(distance);
    this.controls.minDistance = 0.05;
    this.controls.maxDistance = 12;
    this.controls.update();
    this.isTouched = false;
    this.redraw();
  }

  /** Turns by angles in degrees and zooms by a factor: for keys. */
  turn(across, up, zoom = 1) {
    const arm = this.camera.position.clone().sub(this.controls.target);
    const distance = arm.length() * zoom;
    const turn = Math.atan2(arm.x, arm.z) + (across * Math.PI) / 180;
    const limit = Math.PI / 2 - 0.02;
    const tilt = Math.min(limit, Math.max(-limit, Math.asin(arm.y / arm.length()) + (up * Math.PI) / 180));
    arm.set(Math.sin(turn) * Math.cos(tilt), Math.sin(tilt), Math.cos(turn) * Math.cos(tilt));
    this.camera.position.copy(this.controls.target).addScaledVector(arm, distance);
    this.isTouched = true;
    this.controls.update();
  }

  /**
   * Cells as the server gives them; `look` has `isMaximum`, `colours` ("white" or a map), `window`, `isLit`, and `which`
   * volume it is: all frames of one are equally dense.
   */
  showVolume({ low, factor, largest, density, arrays }, look) {
    const [depth, height, width] = arrays.cells.shape;
    const { uniforms } = this.volume.material;
    if (this.cells !== arrays.cells) {
      uniforms.cells.value?.dispose();
      const texture = new Data3DTexture(arrays.cells.data, width, height, depth);
      Object.assign(texture, { format: RGFormat, type: HalfFloatType, minFilter: LinearFilter, magFilter: LinearFilter });
      texture.unpackAlignment = 1;
      texture.needsUpdate = true;
      uniforms.cells.value = texture;
      this.cells = arrays.cells;
    }
    const shape = [width, height, depth];
    this.volume.matrix.copy(this.#cube(low, shape.map((side) => side * factor)));
    uniforms.shape.value.set(...shape);
    const share = (corner, more) =>
      new Vector3(...shape.map((side, axis) => (corner[axis] + more - low[axis]) / (side * factor)));
    uniforms.low.value.copy(share(this.box[0], -0.5)).clampScalar(0, 1);
    uniforms.high.value.copy(share(this.box[1], 1.5)).clampScalar(0, 1);
    const end = largest || 1;
    uniforms.window.value = look.window.map((value) => value / end);
    uniforms.isMaximum.value = look.isMaximum;
    uniforms.isPlain.value = look.colours === "white";
    uniforms.isLit.value = look.isLit;
    this.#setColours(look.colours === "white" ? "grey" : look.colours);
    const { elements } = this.volume.matrix;
    const longest = Math.max(...[0, 4, 8].map((at) => Math.hypot(...elements.slice(at, at + 3))));
    uniforms.reach.value = longest;
    this.extinctions[look.which] ??= density / (end * longest);
    this.baseDensity = this.extinctions[look.which] * end;
    this.end = end;
    this.adjust(this.settings);
    this.#only(this.volume);
  }

  /** Triangles as the server gives them; `colour` turns errors into bytes (r, g, b, a) for each vertex. */
  showSurface({ arrays }, colour) {
    const geometry = new BufferGeometry();
    geometry.setAttribute("position", new BufferAttribute(arrays.vertices.data, 3));
    geometry.setAttribute("normal", new BufferAttribute(arrays.normals.data, 3));
    geometry.setIndex(new BufferAttribute(arrays.triangles.data, 1));
    if (colour) geometry.setAttribute("color", new BufferAttribute(linear(colour), 3));
    this.surface.geometry.dispose();
    this.surface.geometry = geometry;
    this.surface.material.vertexColors = Boolean(colour);
    this.surface.material.color = new Color(colour ? 0xffffff : 0xc9bfb3);
    this.surface.material.needsUpdate = true;
    const [x, y, z] = this.box[0];
    this.surface.matrix.copy(this.toScene).multiply(new Matrix4().makeTranslation(x, y, z));
    this.#only(this.surface);
  }

  /** How dense fog is (a factor), and the share of the largest value below which nothing is shown. */
  adjust(settings) {
    Object.assign(this.settings, settings);
    const { uniforms } = this.volume.material;
    uniforms.density.value = (this.baseDensity ?? 1) * this.settings.density;
    uniforms.cut.value = this.settings.cut;
    this.redraw();
  }

  /** Marks where the layer lies. */
  setLayer(axis, index) {
    const [a, b] = [(axis + 1) % 3, (axis + 2) % 3];
    const [low, high] = [this.box[0].map((v) => v - 0.5), this.box[1].map((v) => v + 0.5)];
    const corners = [[low, low], [high, low], [high, high], [low, high]].flatMap(([first, second]) => {
      const place = [0, 0, 0];
      place[axis] = index;
      place[a] = first[a];
      place[b] = second[b];
      return new Vector3(...place).applyMatrix4(this.toScene).toArray();
    });
    this.plane.geometry.setAttribute("position", new BufferAttribute(new Float32Array(corners), 3));
    this.plane.geometry.computeBoundingSphere();
    this.redraw();
  }

  clear() {
    this.#only(null);
  }

  /** The camera has moved: a quick picture now, a fine one when it rests. */
  moved() {
    clearTimeout(this.settling);
    this.isMoving = true;
    this.settling = setTimeout(() => this.redraw(), SETTLE_MS);
    this.#soon();
  }

  redraw() {
    clearTimeout(this.settling);
    this.isMoving = false;
    this.#soon();
  }

  #soon() {
    this.waiting ??= requestAnimationFrame(() => {
      this.waiting = null;
      this.#draw();
    });
  }

  /** Ray marching may be slow: the number of pixels follows the time that the last picture took. */
  #draw() {
    if (!this.volume.visible) return void this.#paint(1);
    const limit = this.isMoving ? FRAME_MS : FINE_MS;
    const fitting = () => Math.min(1, Math.max(LEAST_SCALE, Math.sqrt(limit / Math.max(this.perPixel, 0.01))));
    const paint = (scale) => (this.perPixel = this.#paint(scale) / scale ** 2);
    if (this.perPixel === undefined) {
      this.#paint(LEAST_SCALE); // shaders are compiled and cells are sent: no measure of what follows
      paint(LEAST_SCALE);
    }
    const scale = fitting();
    paint(scale);
    if (!this.isMoving && fitting() > 1.15 * scale) paint(fitting()); // it was not as slow as it seemed
  }

  /** Draws with a share of the pixels along each side; returns milliseconds. */
  #paint(scale) {
    if (scale !== this.scale) {
      this.scale = scale;
      this.#setSize();
    }
    const start = performance.now();
    const gl = this.renderer.getContext();
    this.renderer.render(this.scene, this.camera);
    if (this.volume.visible) gl.readPixels(0, 0, 1, 1, gl.RGBA, gl.UNSIGNED_BYTE, new Uint8Array(4)); // waits for it
    return performance.now() - start;
  }

  #resize() {
    this.camera.aspect = this.holder.clientWidth / Math.max(1, this.holder.clientHeight);
    this.camera.updateProjectionMatrix();
    this.perPixel = undefined;
    this.#setSize();
    if (this.size && !this.isTouched) this.showAll();
    else this.redraw();
  }

  #setSize() {
    this.renderer.setPixelRatio(Math.min(2, devicePixelRatio) * this.scale);
    this.renderer.setSize(this.holder.clientWidth, this.holder.clientHeight, false);
  }

  #only(shown) {
    for (const part of [this.volume, this.surface]) part.visible = part === shown;
    this.perPixel = undefined;
    this.redraw();
  }

  /** Of a unit cube to a box of voxels, given by its first voxel and its sides. */
  #cube(low, sides) {
    const [x, y, z] = low.map((value) => value - 0.5);
    return this.toScene.clone().multiply(new Matrix4().makeTranslation(x, y, z)).multiply(new Matrix4().makeScale(...sides));
  }

  #setColours(name) {
    const rgba = new Uint8Array(4 * 256).fill(255);
    const colours = table(name);
    for (let i = 0; i < 256; i++) rgba.set(colours.subarray(3 * i, 3 * i + 3), 4 * i);
    const { uniforms } = this.volume.material;
    uniforms.colours.value?.dispose();
    const texture = new DataTexture(rgba, 256, 1);
    Object.assign(texture, { minFilter: LinearFilter, magFilter: LinearFilter, needsUpdate: true });
    uniforms.colours.value = texture;
  }

  #makeVolume() {
    const uniforms = {
      cells: { value: null }, colours: { value: null }, eye: { value: new Vector3() }, shape: { value: new Vector3() },
      low: { value: new Vector3() }, high: { value: new Vector3() }, window: { value: [0, 1] }, density: { value: 1 },
      cut: { value: 0 }, reach: { value: 1 }, rate: { value: 1.25 }, isMaximum: { value: false }, isPlain: { value: true }, isLit: { value: true },
    };
    const material = new ShaderMaterial({
      vertexShader: vertex, fragmentShader: fragment, glslVersion: GLSL3, uniforms, side: BackSide, transparent: true,
      depthWrite: false, depthTest: false, blending: CustomBlending, blendSrc: OneFactor, blendDst: OneMinusSrcAlphaFactor,
    });
    this.volume = new Mesh(new BoxGeometry().translate(0.5, 0.5, 0.5), material);
    this.volume.onBeforeRender = (_, __, camera) => {
      uniforms.eye.value.copy(camera.position).applyMatrix4(this.volume.matrixWorld.clone().invert());
    };
    const clay = new MeshStandardMaterial({ roughness: 0.72, metalness: 0, side: DoubleSide });
    this.surface = new Mesh(new BufferGeometry(), clay);
    for (const part of [this.volume, this.surface]) {
      part.matrixAutoUpdate = false;
      part.frustumCulled = false;
      part.visible = false;
      this.scene.add(part);
    }
  }

  #makeFrame() {
    const lines = new EdgesGeometry(new BoxGeometry().translate(0.5, 0.5, 0.5));
    this.frame = new LineSegments(lines, new LineBasicMaterial({ color: 0x6d7683, transparent: true, opacity: 0.55 }));
    this.frame.matrixAutoUpdate = false;
    this.plane = new LineLoop(new BufferGeometry(), new LineBasicMaterial({ color: 0x6fb1ff }));
    this.plane.frustumCulled = false;
    this.scene.add(this.frame, this.plane);
  }
}

/** Colours as shown, in bytes with alpha -> numbers of light that three.js wants, without. */
function linear(rgba) {
  const light = new Float32Array((rgba.length / 4) * 3);
  const one = new Color();
  for (let i = 0; i < rgba.length / 4; i++) {
    one.setRGB(rgba[4 * i] / 255, rgba[4 * i + 1] / 255, rgba[4 * i + 2] / 255, SRGBColorSpace);
    one.toArray(light, 3 * i);
  }
  return light;
}
