// Rays through the dense box of cells: fog lit from above, or the largest value on the way.
// Places are in the box, 0 to 1 along each side; lengths are in scene units, where the longest side of the volume is 1.

export const vertex = /* glsl */ `
out vec3 vPlace;
void main() {
  vPlace = position;
  gl_Position = projectionMatrix * modelViewMatrix * vec4(position, 1.0);
}`;

export const fragment = /* glsl */ `
precision highp float;
precision highp sampler3D;
in vec3 vPlace;
out vec4 colour;
uniform sampler3D cells;    // value, and the values that light from above has passed
uniform sampler2D colours;
uniform mat4 modelMatrix;
uniform vec3 eye, shape, low, high;
uniform vec2 window;        // values at the ends of the colours
uniform float density, cut, reach, rate;
uniform bool isMaximum, isPlain, isLit;

const vec3 SUN = vec3(1.25, 1.17, 1.05), SKY = vec3(0.14, 0.18, 0.25);
const float LIGHT_DEPTH = 0.35;  // real fog scatters often, so that light goes deeper than once scattered

vec3 mapped(float share) {
  return pow(texture(colours, vec2(clamp(share, 0.0, 1.0) * 0.99609375 + 0.001953125, 0.5)).rgb, vec3(2.2));
}
vec3 shown(vec3 light) { return pow(clamp(light, 0.0, 1.0), vec3(1.0 / 2.2)); }
float noise(vec2 at) { return fract(52.9829189 * fract(dot(at, vec2(0.06711056, 0.00583715)))); }

void main() {
  vec3 way = vPlace - eye;
  vec3 first = (low - eye) / way, last = (high - eye) / way;
  vec3 nearer = min(first, last), farther = max(first, last);
  float start = max(max(nearer.x, max(nearer.y, nearer.z)), 0.0);
  float end = min(farther.x, min(farther.y, farther.z));
  if (end <= start) discard;
  float count = clamp(ceil(length(way * shape) * (end - start) * rate), 2.0, 700.0);
  float stride = (end - start) / count;
  float depth = stride * length((modelMatrix * vec4(way, 0.0)).xyz) * density;
  float at = start + stride * noise(gl_FragCoord.xy);
  float span = max(window.y - window.x, 1e-12);
  float largest = 0.0, clear = 1.0;
  vec3 light = vec3(0.0);
  for (float i = 0.0; i < count; i += 1.0, at += stride) {
    vec2 here = texture(cells, eye + way * at).rg;
    if (here.r <= cut) continue;
    if (isMaximum) { largest = max(largest, here.r); continue; }
    float passed = exp(-here.r * depth);
    vec3 own = isPlain ? vec3(0.92) : mapped((here.r - window.x) / span);
    if (isLit) own *= SUN * exp(-here.g * density * reach * LIGHT_DEPTH) + SKY;
    light += clear * (1.0 - passed) * own;
    clear *= passed;
    if (clear < 0.004) { clear = 0.0; break; }
  }
  if (isMaximum) {
    if (largest <= 0.0) discard;
    float share = (largest - window.x) / span;
    light = mapped(share);
    clear = 1.0 - smoothstep(0.0, 0.12, share);
    colour = vec4(shown(light) * (1.0 - clear), 1.0 - clear);
    return;
  }
  float cover = 1.0 - clear;
  if (cover <= 0.0) discard;
  colour = vec4(shown(light / cover) * cover, cover);
}`;
