// The page: one state, and what is asked and drawn again when a part of it changes.

import { ask, askArrays } from "./api.js";
import { drawLegend, paint, setMaps, short } from "./colours.js";
import { drawReport } from "./report.js";
import { Sheet } from "./sheet.js";
import { Stage } from "./stage.js";
import { Still } from "./still.js";

const $ = (id) => document.getElementById(id);
const ISO_STEPS = 1000;
const ISO_PAUSE_MS = 90;
const REPORT_PAUSE_MS = 500;
const FRAME_MS = 1000 / 12; // of a sequence that plays, at least
const ACROSS = { 0: [2, 1], 1: [0, 2], 2: [0, 1] }; // axis looked along -> index axes to the right and upwards
const NAMES = { original: "Original", decoded: "Decoded", error: "Error" };

const state = { frame: 0, grid: 0, which: "decoded", mode: "fog", iso: 0, axis: 2, index: 0 };
let about, grids, facts, stage, sheet;
const runs = {}; // what is on its way: name -> AbortController

async function start() {
  sheet = new Sheet($("layer"), showPoint);
  about = await ask("about");
  setMaps(about.colormaps);
  document.title = `${about.file} · fieldcodec`;
  $("file").textContent = about.file;
  try {
    stage = new Stage($("stage"));
  } catch {
    stage = new Still($("stage"), (isBusy, error) => {
      $("space-busy").hidden = !isBusy;
      showError(error);
    });
    $("space-note").textContent = "No WebGL in this browser: pictures come from the server.";
  }
  $("which").hidden = !about.has_originals;
  $("frame").max = String(about.frames.length - 1);
  $("frame-field").hidden = about.frames.length < 2;
  listen();
  await openFrame(0);
}

/** Lists the grids of a frame, and opens the one that was looked at before, or the largest. */
async function openFrame(number) {
  const before = grids?.[state.grid]?.name;
  state.frame = number;
  $("frame").value = String(number);
  $("frame-text").textContent = about.frames[number];
  let listed;
  if (!(await run("frame", [], async (signal) => (listed = await ask("grids", { frame: number }, signal))))) return;
  grids = listed.grids;
  fillGrids();
  if (listed.first < 0) {
    showError(new Error("The file has no grid that can be shown."));
    return;
  }
  const same = grids.findIndex((grid) => grid.name === before && !grid.is_carried);
  state.grid = same < 0 ? listed.first : same;
  $("grid").value = String(state.grid);
  await openGrid(same >= 0);
}

function fillGrids() {
  const options = grids.map((grid, row) => {
    const option = new Option(grid.name || `(unnamed ${row})`, String(row));
    option.disabled = grid.is_carried;
    return option;
  });
  $("grid").replaceChildren(...options);
  $("grid-field").hidden = grids.length < 2;
}

/** `isSame`: the grid of another frame, so camera, layer, iso value and colours stay as they are. */
async function openGrid(isSame = false) {
  const grid = grids[state.grid];
  const before = isSame ? facts : null;
  $("summary").textContent = `${grid.name || "(unnamed)"} · ${grid.value_type}, ${grid.grid_class}`;
  if (!isSame) drawReport($("report"), about, grid, null, null);
  let found;
  const busy = isSame ? [] : [$("space-busy"), $("plane-busy")];
  if (!(await run("grid", busy, async (signal) => (found = await ask("grid", where(), signal))))) return;
  facts = found;
  if (!facts.box) {
    showError(new Error("This grid has no active voxels, so there is nothing to see."));
    stage.clear?.();
    sheet.clear();
    return;
  }
  const isKept = Boolean(before?.box);
  if (isKept) widenScales(before);
  if (!grid.has_original) state.which = "decoded";
  for (const input of document.querySelectorAll("#which input")) {
    input.disabled = !grid.has_original && input.value !== "decoded";
    input.checked = input.value === state.which;
  }
  if (!facts.modes.includes(state.mode)) state.mode = facts.modes[0];
  for (const input of document.querySelectorAll("#mode input")) {
    input.disabled = !facts.modes.includes(input.value) || (isStill() && input.value === "surface" && !facts.is_level_set);
    input.checked = input.value === state.mode;
  }
  $("mode").hidden = facts.modes.length < 2;
  setIso(isKept ? state.iso : facts.iso?.start ?? 0);
  stage.setPlace?.(facts.box, facts.matrix, isKept);
  const drawn = [setAxis(state.axis, isKept ? state.index : null), drawSpace()];
  loadReport();
  await Promise.all(drawn);
}

/** Colours mean the same in all frames seen so far. */
function widenScales(before) {
  const joined = (a, b) => [Math.min(a[0], b[0]), Math.max(a[1], b[1])];
  const iso = facts.iso && before.iso;
  facts = { ...facts, range: joined(facts.range, before.range), scale: joined(facts.scale, before.scale) };
  if (iso) facts.iso = { ...facts.iso, low: Math.min(facts.iso.low, iso.low), high: Math.max(facts.iso.high, iso.high) };
  if (facts.error && before.error) {
    const larger = (name) => Math.max(facts.error[name], before.error[name]);
    facts.error = { scale: larger("scale"), largest: larger("largest") };
  }
}

let playing = 0; // counts the times that Play or Pause was chosen
/** Frame after frame, as fast as they come. */
async function play() {
  const mine = (playing += 1);
  const isOn = $("play").getAttribute("aria-pressed") !== "true";
  setPlaying(isOn);
  while (isOn && mine === playing) {
    const start = performance.now();
    await openFrame((state.frame + 1) % about.frames.length);
    if (mine === playing && !$("message").hidden) play(); // pauses
    await new Promise((done) => setTimeout(done, Math.max(0, FRAME_MS - (performance.now() - start))));
  }
}

function setPlaying(isPlaying) {
  $("play").setAttribute("aria-pressed", String(isPlaying));
  $("play").textContent = isPlaying ? "Pause" : "Play";
}

const where = () => ({ grid: state.grid, frame: state.frame });
const isStill = () => stage instanceof Still;
const isError = () => state.which === "error";
const errorScale = () => [0, facts.error.scale || facts.error.largest || 1];

let reportTimer;
/** After a while, so that a sequence plays without being measured. */
function loadReport() {
  const grid = grids[state.grid];
  drawReport($("report"), about, grid, facts, null);
  clearTimeout(reportTimer);
  reportTimer = setTimeout(async () => {
    const found = await ask("report", where()).catch((error) => error);
    if (grid === grids[state.grid]) drawReport($("report"), about, grid, facts, found);
  }, about.frames.length > 1 ? REPORT_PAUSE_MS : 0);
}

/** The view in space: what is shown, and which controls belong to it. */
async function drawSpace() {
  const isSurface = state.mode === "surface";
  $("iso-field").hidden = !isSurface || isStill();
  $("density-field").hidden = state.mode !== "fog" || isStill();
  $("cut-field").hidden = isSurface || isStill();
  $("space-colours-field").hidden = isSurface || isError() || isStill();
  $("space-title").textContent = title(isSurface ? `surface at ${short(state.iso)}` : { fog: "fog", maximum: "largest along each ray" }[state.mode]);
  $("space-legend").hidden = true;
  if (isStill()) {
    if (isError()) $("space-title").textContent = title("largest along each ray");
    stage.show({ ...where(), which: state.which, maximum: state.mode === "maximum" ? 1 : 0 });
    return;
  }
  await run("space", [$("space-busy")], (signal) => (isSurface ? drawSurface(signal) : drawVolume(signal)));
}

async function drawSurface(signal) {
  const found = await askArrays("surface", { ...where(), which: state.which, iso: state.iso }, signal);
  let colour = null;
  if (isError()) {
    const errors = found.arrays.errors.data;
    colour = new Uint8Array(4 * errors.length);
    paint(errors, "heat", errorScale(), colour);
    drawLegend($("space-legend"), "heat", errorScale(), facts.error.largest > errorScale()[1]);
  }
  stage.showSurface(found, colour);
  const count = found.arrays.triangles.shape[0];
  const level = found.level ? ` · at 1/${2 ** found.level} of the resolution` : "";
  $("space-note").textContent = count ? `${count.toLocaleString("en")} triangles${level}` : "No voxel is beyond this value.";
}

async function drawVolume(signal) {
  const found = await askArrays("volume", { ...where(), which: state.which }, signal);
  const isMaximum = state.mode === "maximum";
  const chosen = $("space-colours").value;
  const colours = isError() ? "heat" : isMaximum && chosen === "white" ? "ocean" : chosen;
  const scale = isError() ? errorScale() : [0, Math.max(Math.abs(facts.scale[0]), Math.abs(facts.scale[1]))];
  stage.showVolume(found, { which: state.which, isMaximum, colours, window: scale, isLit: colours === "white" });
  if (colours !== "white") {
    const end = isError() ? facts.error.largest : Math.max(...facts.range.map(Math.abs));
    drawLegend($("space-legend"), colours, scale, end > scale[1]);
  }
  setFog();
  const cells = found.arrays.cells.shape.slice(0, 3).reverse().join(" × ");
  const side = found.factor === 1 ? "one voxel each" : `${found.factor} voxels a side`;
  $("space-note").textContent = `${cells} cells, ${side}`;
}

async function drawLayer() {
  const { axis, index } = state;
  stage.setLayer?.(axis, index);
  $("plane-colours-field").hidden = isError();
  $("line-field").hidden = !facts.iso || isError();
  $("plane-title").textContent = title(`layer ${"xyz"[axis]} = ${index}`);
  await run("layer", [$("plane-busy")], async (signal) => {
    const found = await askArrays("layer", { ...where(), which: state.which, axis, index }, signal);
    const scale = isError() ? errorScale() : facts.scale;
    const colours = isError() ? "heat" : $("plane-colours").value;
    const [right, up] = ACROSS[axis];
    const sizes = facts.voxel_size ?? [1, 1, 1];
    const line = facts.iso && !isError() && $("line").checked ? state.iso : null;
    sheet.show(found.arrays.values, sizes[right] / sizes[up], { colours, scale }, line);
    sheet.step = found.step;
    const end = isError() ? facts.error.largest : facts.range[1];
    drawLegend($("plane-legend"), colours, scale, end > scale[1]);
    showPoint(null);
  });
}

/** What a picture shows, in words; files without an original have one kind of picture only. */
const title = (text) =>
  about.has_originals ? `${NAMES[state.which]} · ${text}` : text[0].toUpperCase() + text.slice(1);

function showPoint(point) {
  const note = $("plane-note");
  if (!sheet.values) return void (note.textContent = "");
  const [rows, columns] = sheet.values.shape;
  if (!point) {
    const coarse = sheet.step > 1 ? `, every ${sheet.step}th` : "";
    note.textContent = `${columns} × ${rows} voxels${coarse}`;
    return;
  }
  const place = [0, 0, 0];
  const [right, up] = ACROSS[state.axis];
  place[state.axis] = state.index;
  place[right] = facts.box[0][right] + point.column * sheet.step;
  place[up] = facts.box[0][up] + (rows - 1 - point.row) * sheet.step;
  note.textContent = `(${place.join(", ")}) = ${Number(point.value.toPrecision(6))}`;
}

/** Runs a question; a newer one of the same name ends it. True where it came to its end. */
async function run(name, busy, task) {
  runs[name]?.abort();
  const controller = (runs[name] = new AbortController());
  for (const element of busy) element.hidden = false;
  try {
    await task(controller.signal);
    if (runs[name] === controller) showError(null);
    return true;
  } catch (error) {
    if (error.name !== "AbortError" && runs[name] === controller) showError(error);
    return false;
  } finally {
    if (runs[name] === controller) {
      delete runs[name];
      for (const element of busy) element.hidden = true;
    }
  }
}

function showError(error) {
  $("message").hidden = !error;
  $("message").textContent = error?.message ?? "";
}

function setWhich(which) {
  const input = document.querySelector(`#which input[value=${which}]`);
  if (!input || input.disabled) return;
  input.checked = true;
  state.which = which;
  drawSpace();
  drawLayer();
}

function setAxis(axis, index = null) {
  state.axis = axis;
  document.querySelector(`#axis input[value="${axis}"]`).checked = true;
  const [low, high] = [facts.box[0][axis], facts.box[1][axis]];
  for (const id of ["index", "index-number"]) Object.assign($(id), { min: low, max: high });
  return setIndex(index ?? Math.round((low + high) / 2));
}

function setIndex(index) {
  const [low, high] = [facts.box[0][state.axis], facts.box[1][state.axis]];
  state.index = Math.min(high, Math.max(low, Math.round(index)));
  $("index").value = $("index-number").value = String(state.index);
  return drawLayer();
}

function setIso(iso) {
  if (!facts.iso) return;
  const { low, high } = facts.iso;
  state.iso = Math.min(high, Math.max(low, iso));
  $("iso").max = String(ISO_STEPS);
  $("iso").value = String(Math.round((ISO_STEPS * (state.iso - low)) / (high - low || 1)));
  $("iso-number").value = String(Number(state.iso.toPrecision(4)));
}

let isoTimer;
function changeIso(iso) {
  setIso(iso);
  clearTimeout(isoTimer);
  isoTimer = setTimeout(() => {
    drawSpace();
    drawLayer();
  }, ISO_PAUSE_MS);
}

function setFog() {
  const density = 10 ** ($("density").value / 10);
  const share = $("cut").value / 100;
  $("density-text").textContent = `${short(density)} ×`;
  const end = stage.end ?? 1;
  $("cut-text").textContent = share ? short(share ** 2 * end) : "0";
  stage.adjust({ density, cut: share ** 2 });
}

function listen() {
  $("grid").addEventListener("change", (event) => {
    state.grid = Number(event.target.value);
    openGrid();
  });
  $("frame").addEventListener("input", (event) => openFrame(Number(event.target.value)));
  $("play").addEventListener("click", play);
  $("which").addEventListener("change", (event) => setWhich(event.target.value));
  $("mode").addEventListener("change", (event) => {
    state.mode = event.target.value;
    drawSpace();
  });
  $("axis").addEventListener("change", (event) => setAxis(Number(event.target.value)));
  $("index").addEventListener("input", (event) => setIndex(Number(event.target.value)));
  $("index-number").addEventListener("change", (event) => setIndex(Number(event.target.value)));
  $("iso").addEventListener("input", (event) => {
    const { low, high } = facts.iso;
    changeIso(low + (Number(event.target.value) / ISO_STEPS) * (high - low));
  });
  $("iso-number").addEventListener("change", (event) => changeIso(Number(event.target.value)));
  for (const id of ["density", "cut"]) $(id).addEventListener("input", setFog);
  $("space-colours").addEventListener("change", drawSpace);
  $("plane-colours").addEventListener("change", drawLayer);
  $("line").addEventListener("change", drawLayer);
  $("reset").addEventListener("click", () => stage.showAll());
  document.addEventListener("keydown", pressed);
}

/** Keys: 1 2 3 what is shown, x y z the axis, r all of it, space plays; on the view in space arrows turn, plus and minus zoom. */
function pressed(event) {
  if (!facts?.box || event.ctrlKey || event.metaKey || event.altKey) return;
  if (event.target.matches("input[type=number], select")) return;
  const key = event.key.toLowerCase();
  if ("123".includes(key)) setWhich(["original", "decoded", "error"][key - 1]);
  else if ("xyz".includes(key)) setAxis("xyz".indexOf(key));
  else if (key === "r") stage.showAll();
  else if (key === " " && about.frames.length > 1 && !event.target.matches("button, input")) play();
  else if (event.target === $("stage")) {
    const turns = { arrowleft: [-8, 0], arrowright: [8, 0], arrowup: [0, 8], arrowdown: [0, -8], "+": [0, 0, 0.85], "=": [0, 0, 0.85], "-": [0, 0, 1.18] };
    if (!turns[key]) return;
    stage.turn(...turns[key]);
  } else return;
  event.preventDefault();
}

start().catch(showError);
