"""One triangle and its distance to points (compiled by numba): what the distance code does all its work with.

Results must be the same bits on every machine, as voxels of coded meshes are decoded from them: only +, -, *, /
and comparisons of 64-bit floats, in the order written (no fastmath), and a minimum that depends on no order.
"""

import numpy as np

from fieldcodec.jit import kernel

PREPARED = 20  # numbers that `prepare` computes of a triangle
UNLIMITED = 1 << 62  # of counts that callers may limit, as decoders of foreign bytes have to

# The functions below are compiled; numba infers their types, so they carry none.


@kernel
def prepare(corners, out):  # type: ignore[no-untyped-def]
    """Fills out [20] from corners [9]: corner a, edges ab and ac, normal, Gram matrix, inverses, limit of v + w."""
    for i in range(3):
        out[i] = corners[i]
        out[3 + i] = corners[3 + i] - corners[i]
        out[6 + i] = corners[6 + i] - corners[i]
    d00 = out[3] * out[3] + out[4] * out[4] + out[5] * out[5]
    d01 = out[3] * out[6] + out[4] * out[7] + out[5] * out[8]
    d11 = out[6] * out[6] + out[7] * out[7] + out[8] * out[8]
    nx = out[4] * out[8] - out[5] * out[7]
    ny = out[5] * out[6] - out[3] * out[8]
    nz = out[3] * out[7] - out[4] * out[6]
    area2 = nx * nx + ny * ny + nz * nz  # = d00 * d11 - d01^2, without its cancellation
    longest = max(d00, d11)
    bc2 = d00 - 2.0 * d01 + d11
    # A sliver thinner than a millionth of its length is as good as its edges, and its normal is noise.
    is_solid = area2 > 1e-12 * longest * longest
    out[9], out[10], out[11] = nx, ny, nz
    out[12], out[13], out[14] = d00, d01, d11
    out[15] = 1.0 / area2 if is_solid else 0.0
    out[16] = 1.0 / d00 if d00 > 0.0 else 0.0
    out[17] = 1.0 / d11 if d11 > 0.0 else 0.0
    out[18] = 1.0 / bc2 if bc2 > 0.0 else 0.0
    out[19] = 1.0 if is_solid else -1.0  # no point projects into a sliver


@kernel
def squared_distance(t, px, py, pz):  # type: ignore[no-untyped-def]
    """Squared distance from a point to the prepared triangle `t`, an array or `in_registers` of it."""
    ax, ay, az = px - t[0], py - t[1], pz - t[2]
    plane = ax * t[9] + ay * t[10] + az * t[11]
    plane = plane * plane * t[15]
    e0 = ax * t[3] + ay * t[4] + az * t[5]
    e1 = ax * t[6] + ay * t[7] + az * t[8]
    v = (t[14] * e0 - t[13] * e1) * t[15]
    w = (t[12] * e1 - t[13] * e0) * t[15]
    s = min(max(e0 * t[16], 0.0), 1.0)
    x, y, z = ax - s * t[3], ay - s * t[4], az - s * t[5]
    edge = x * x + y * y + z * z
    s = min(max(e1 * t[17], 0.0), 1.0)
    x, y, z = ax - s * t[6], ay - s * t[7], az - s * t[8]
    edge = min(edge, x * x + y * y + z * z)
    bx, by, bz = ax - t[3], ay - t[4], az - t[5]
    cx, cy, cz = t[6] - t[3], t[7] - t[4], t[8] - t[5]
    s = min(max((bx * cx + by * cy + bz * cz) * t[18], 0.0), 1.0)
    x, y, z = bx - s * cx, by - s * cy, bz - s * cz
    edge = min(edge, x * x + y * y + z * z)
    is_over = (v >= 0.0) & (w >= 0.0) & (v + w <= t[19])
    return plane if is_over else edge


@kernel
def in_registers(t):  # type: ignore[no-untyped-def]
    """A prepared triangle as a tuple: loops over points are vectorised when it cannot change under their writes."""
    edges = (t[0], t[1], t[2], t[3], t[4], t[5], t[6], t[7], t[8])
    return (*edges, t[9], t[10], t[11], t[12], t[13], t[14], t[15], t[16], t[17], t[18], t[19])


@kernel
def bounds_of(corners):  # type: ignore[no-untyped-def]
    """[m, 9] corners of triangles -> [m, 6] their boxes: least x, y, z, then largest."""
    bounds = np.empty((len(corners), 6))
    for row in range(len(corners)):
        for i in range(3):
            a, b, c = corners[row, i], corners[row, 3 + i], corners[row, 6 + i]
            bounds[row, i] = min(a, b, c)
            bounds[row, 3 + i] = max(a, b, c)
    return bounds
