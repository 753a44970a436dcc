// Questions to the server. Answers are kept while they fit, so that switching back and forth is instant.

const KEPT_BYTES = 384 * 2 ** 20;
const TYPES = { float32: Float32Array, float16: Uint16Array, uint32: Uint32Array, uint8: Uint8Array };

const kept = new Map(); // address -> {value, bytes}, the least recently used one first
let keptBytes = 0;

/** An object of JSON. */
export const ask = (name, parameters = {}, signal) =>
  cached(name, parameters, signal, async (answer) => {
    const text = await answer.text();
    return { value: JSON.parse(text), bytes: 2 * text.length };
  });

/** The header's values, and every array by its name; see payload.py. */
export const askArrays = (name, parameters, signal) =>
  cached(name, parameters, signal, async (answer) => {
    const data = await answer.arrayBuffer();
    return { value: unpack(data), bytes: data.byteLength };
  });

/** The address of a picture. */
export const address = (name, parameters) => `api/${name}?${new URLSearchParams(parameters)}`;

async function cached(name, parameters, signal, read) {
  const key = address(name, parameters);
  if (kept.has(key)) {
    const entry = kept.get(key);
    kept.delete(key);
    kept.set(key, entry);
    return entry.value;
  }
  const answer = await fetched(key, signal);
  if (!answer.ok) {
    const said = await answer.json().catch(() => null);
    throw new Error(said?.error ?? `the server answered ${answer.status}`);
  }
  const entry = await read(answer);
  kept.set(key, entry);
  keptBytes += entry.bytes;
  for (const [oldest, { bytes }] of kept) {
    if (keptBytes <= KEPT_BYTES || oldest === key) break;
    kept.delete(oldest);
    keptBytes -= bytes;
  }
  return entry.value;
}

async function fetched(key, signal) {
  try {
    return await fetch(key, { signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error("the server does not answer; was fieldcodec view ended?");
  }
}

function unpack(data) {
  const headerBytes = new DataView(data).getUint32(0, true);
  const header = JSON.parse(new TextDecoder().decode(new Uint8Array(data, 4, headerBytes)));
  const arrays = {};
  for (const { name, type, shape, offset } of header.arrays) {
    const length = shape.reduce((product, side) => product * side, 1);
    arrays[name] = { data: new TYPES[type](data, 4 + headerBytes + offset, length), shape };
  }
  return { ...header, arrays };
}
