"""One step of a fit on the CPU, by hand: rays forward and backward, gradients to corners, Adam.

    samples of rays -> rays_backward -> records: place and gradient of each sample that matters, ray after ray
    records -> spread_gradients, a range of rows each -> gradients of corners, in the order of the records
    gradients -> add_smoothing -> move_rows

Ranges of rows share nothing that they write, and each corner adds up in the order of the rays: results do not depend
on the number of threads.
"""

import numpy as np

from fieldcodec.jit import kernel
from fieldcodec.radiance.grid_kernels import cell_of, corners_of, shade_at, softplus, thickness_at

_ZERO, _ONE, _TWO, _THREE = (np.float32(n) for n in range(4))  # with a plain 1 all would be computed in float64
_FIRST, _SECOND, _TINY = np.float32(0.9), np.float32(0.99), np.float32(1e-10)  # Adam's numbers


@kernel
def rays_backward(  # type: ignore[no-untyped-def]
    rays, basis, targets, offsets, distances, cells_apart, limits, behind, box, thickness, shades, records, losses
):
    """What rays see and the gradients of the loss of each,

        sum_c (colour_c + (1 - alpha) background - that of the target)^2 / 3 + alpha_weight (alpha - target alpha)^2.

    Args:
        rays: origins and unit directions, [n, 3] float64 each.
        targets: [n, 4] float32: colours times alpha, and alpha.
        cells_apart: cells between samples.
        limits: float32; the share of light of a sample below which it gets no gradient, and the transmittance behind
            which nothing is looked at.
        behind: background and alpha_weight, float32.
        box: low, cell, rows and live of the lattice.
        records: cells [m, 3] int16, places in them [m, 3] float32, gradients [m, 4] float32 (thickness, then colours)
            and rays [m] int32; filled from the start.
        losses: [n] float32.

    Returns:
        How many records there are.
    """
    longest = 0
    for ray in range(len(offsets) - 1):
        longest = max(longest, offsets[ray + 1] - offsets[ray])
    kept = np.empty((longest, 6), np.float32)  # of each sample: light left behind it, its share, slope, colour
    mixed, seen, pull = np.empty(shades.shape[1], np.float32), np.empty(3, np.float32), np.empty(3, np.float32)
    count = 0
    for ray in range(len(offsets) - 1):
        found, left = _look(
            ray, rays, basis, offsets, distances, cells_apart, limits, box, thickness, shades, mixed, kept, seen,
            records, count,
        )  # fmt: skip
        off_alpha = (_ONE - left) - targets[ray, 3]
        alpha_pull = _TWO * behind[1] * off_alpha
        losses[ray] = behind[1] * off_alpha * off_alpha
        for channel in range(3):
            off = seen[channel] - targets[ray, channel] - behind[0] * off_alpha
            losses[ray] += off * off / _THREE
            pull[channel] = _TWO * off / _THREE
            alpha_pull -= behind[0] * pull[channel]
        _pull_back(found, pull, alpha_pull, kept, records[2], count)
        count += found
    return count


@kernel
def _look(  # type: ignore[no-untyped-def]
    ray, rays, basis, offsets, distances, cells_apart, limits, box, thickness, shades, mixed, kept, seen, records, count
):
    """Along one ray: its colour into `seen`, its samples that matter into `kept` and the records from `count` on.

    Returns how many these are, and the transmittance of all.
    """
    origins, directions = rays
    low, cell, rows, live = box
    first, beside, point = np.empty(3, np.int64), np.empty(3, np.float32), np.empty(3)
    near, weights, colour = np.empty(4, np.int64), np.empty(8, np.float32), np.empty(3, np.float32)
    found, left = 0, _ONE
    for axis in range(3):
        seen[axis] = 0
    for sample in range(offsets[ray], offsets[ray + 1]):
        for axis in range(3):
            point[axis] = origins[ray, axis] + distances[sample] * directions[ray, axis]
        if not cell_of(point, low, cell, live, first, beside):
            continue
        corners_of(first, beside, rows, near, weights)
        raw = thickness_at(thickness, near, weights)
        passed = np.exp(-softplus(raw) * cells_apart)
        share = left * (_ONE - passed)
        left *= passed
        if share >= limits[0]:
            kept[found, 0], kept[found, 1], kept[found, 2] = left, share, cells_apart / (_ONE + np.exp(-raw))
            shade_at(shades, near, weights, basis, ray, mixed, colour)
            for axis in range(3):
                records[0][count + found, axis], records[1][count + found, axis] = first[axis], beside[axis]
                kept[found, 3 + axis] = colour[axis]
                seen[axis] += share * min(max(colour[axis], _ZERO), _ONE)
            records[3][count + found] = ray
            found += 1
        if left < limits[1]:
            break
    return found, left


@kernel
def _pull_back(found, pull, alpha_pull, kept, gradients, count):  # type: ignore[no-untyped-def]
    """From the gradients of a ray's colour and alpha to those of its samples, from the last to the first.

    d loss / d depth_i = T_(i + 1) gain_i - sum_{j > i} share_j gain_j,    gain = pull . colour + alpha_pull
    """
    behind = _ZERO
    for own in range(found - 1, -1, -1):
        gain, share = alpha_pull, kept[own, 1]
        for channel in range(3):
            shade = kept[own, 3 + channel]
            gain += pull[channel] * min(max(shade, _ZERO), _ONE)
            outward = (shade < 0 and pull[channel] > 0) or (shade > 1 and pull[channel] < 0)
            gradients[count + own, 1 + channel] = _ZERO if outward else share * pull[channel]
        gradients[count + own, 0] = (kept[own, 0] * gain - behind) * kept[own, 2]
        behind += share * gain


@kernel
def spread_gradients(  # type: ignore[no-untyped-def]
    cells, places, gradients, of_ray, basis, rows, from_x, to_x, thickness_gradients, shade_gradients, touched
):
    """Adds the gradients of records to those of corners whose x is from_x to to_x, excluded, and marks these."""
    beside, near, weights = np.empty(3, np.float32), np.empty(4, np.int64), np.empty(8, np.float32)
    first = np.empty(3, np.int64)
    spread = np.zeros(shade_gradients.shape[1], np.float32)
    for record in range(len(cells)):
        x = int(cells[record, 0])
        if x + 1 < from_x or x >= to_x:
            continue
        for axis in range(3):
            first[axis], beside[axis] = cells[record, axis], places[record, axis]
        corners_of(first, beside, rows, near, weights)
        ray = of_ray[record]
        red, green, blue = gradients[record, 1], gradients[record, 2], gradients[record, 3]
        for band in range(basis.shape[1]):
            share = basis[ray, band]
            spread[3 * band], spread[3 * band + 1], spread[3 * band + 2] = red * share, green * share, blue * share
        for corner in range(8):
            q = corner >> 1
            if not from_x <= x + (q >> 1) < to_x:
                continue
            row, weight = near[q] + (corner & 1), weights[corner]
            touched[row] = True
            thickness_gradients[row] += weight * gradients[record, 0]
            for c in range(len(spread)):
                shade_gradients[row, c] += weight * spread[c]


@kernel
def add_smoothing(  # type: ignore[no-untyped-def]
    places, rows, from_row, to_row, touched, thickness, shades, thickness_weight, shade_weight,
    thickness_gradients, shade_gradients,
):  # fmt: skip
    """Adds the pull of the neighbours along the axes to the gradients of touched rows (total variation, as DVGO's)."""
    width = shades.shape[1]
    for row in range(from_row, to_row):
        if not touched[row]:
            continue
        for axis in range(3):
            for side in (-1, 1):
                i, j, k = places[row, 0], places[row, 1], places[row, 2]
                if axis == 0:
                    i += side
                elif axis == 1:
                    j += side
                else:
                    k += side
                if not (0 <= i < rows.shape[0] and 0 <= j < rows.shape[1] and 0 <= k < rows.shape[2]):
                    continue
                other = rows[i, j, k]
                if other < 0:
                    continue
                step = thickness[row] - thickness[other]
                thickness_gradients[row] += thickness_weight * min(max(step, np.float32(-1)), np.float32(1))
                for c in range(width):
                    shade_gradients[row, c] += shade_weight * (shades[row, c] - shades[other, c])


@kernel
def move_rows(  # type: ignore[no-untyped-def]
    values, gradients, means, squares, touched, from_row, to_row, rates, head, limits, warm_first, warm_second
):
    """Adam on the touched rows of values [n, W]; their gradients are 0 afterwards.

    Args:
        rates: of the first `head` columns, and of the others.
        limits: the least and the largest value allowed.
        warm_first, warm_second: 1 - beta^step: Adam's correction for the first steps.
    """
    first, scale = rates[0] / warm_first, _ONE / np.sqrt(warm_second)
    rest = rates[1] / warm_first
    width = values.shape[1]
    for row in range(from_row, to_row):
        if not touched[row]:
            continue
        for c in range(width):
            means[row, c] = _FIRST * means[row, c] + (_ONE - _FIRST) * gradients[row, c]
        for c in range(width):
            squares[row, c] = _SECOND * squares[row, c] + (_ONE - _SECOND) * gradients[row, c] * gradients[row, c]
        for c in range(head):
            moved = values[row, c] - first * means[row, c] / (np.sqrt(squares[row, c]) * scale + _TINY)
            values[row, c] = min(max(moved, limits[0]), limits[1])
        for c in range(head, width):
            moved = values[row, c] - rest * means[row, c] / (np.sqrt(squares[row, c]) * scale + _TINY)
            values[row, c] = min(max(moved, limits[0]), limits[1])
        for c in range(width):
            gradients[row, c] = 0


@kernel
def mark_seen(origins, directions, offsets, distances, depth_scale, least, low, cell, rows, live, thickness, seen):  # type: ignore[no-untyped-def]
    """Marks in seen [nx, ny, nz] the cells a sample of which gives its ray at least such a share of the light."""
    first, beside, point = np.empty(3, np.int64), np.empty(3, np.float32), np.empty(3)
    near, weights = np.empty(4, np.int64), np.empty(8, np.float32)
    for ray in range(len(origins)):
        left = _ONE
        for sample in range(offsets[ray], offsets[ray + 1]):
            for axis in range(3):
                point[axis] = origins[ray, axis] + distances[sample] * directions[ray, axis]
            if not cell_of(point, low, cell, live, first, beside):
                continue
            corners_of(first, beside, rows, near, weights)
            passed = np.exp(-softplus(thickness_at(thickness, near, weights)) * depth_scale)
            if left * (_ONE - passed) >= least:
                seen[first[0], first[1], first[2]] = True
            left *= passed
            if left < least:
                break
