"""Where rays meet the occupied cells of a box, compiled."""

import numpy as np

from fieldcodec.jit import kernel

BRICK = 8  # cells along the edge of a brick, which is passed in one leap where it is empty


@kernel
def crossing(origin, direction, low, high):  # type: ignore[no-untyped-def]
    """Where a ray enters and leaves a box, not before its origin: (near, far), near >= far where it misses."""
    near, far = 0.0, np.inf
    for axis in range(3):
        if direction[axis] == 0.0:
            if origin[axis] < low[axis] or origin[axis] > high[axis]:
                return 0.0, 0.0
            continue
        a = (low[axis] - origin[axis]) / direction[axis]
        b = (high[axis] - origin[axis]) / direction[axis]
        near = max(near, min(a, b))
        far = min(far, max(a, b))
    return near, far


@kernel
def leap(place, direction, first, edge):  # type: ignore[no-untyped-def]
    """How far a ray at `place`, in cells, goes on inside the cube of so many cells whose least corner is `first`."""
    ahead = np.inf
    for axis in range(3):
        if direction[axis] > 0.0:
            ahead = min(ahead, (first[axis] + edge - place[axis]) / direction[axis])
        elif direction[axis] < 0.0:
            ahead = min(ahead, (first[axis] - place[axis]) / direction[axis])
    return max(ahead, 0.0)


@kernel
def march_ray(origin, direction, low, cell, cells, bricks, step, shift, distances, most):  # type: ignore[no-untyped-def]
    """Samples of one ray, near + (k + shift) step for k = 0, 1, .., that lie in occupied cells.

    Args:
        step: world units.
        distances: [m] float32: filled as far as it reaches; empty to count only.
        most: how many are looked for.

    Returns:
        How many samples there are.
    """
    shape = cells.shape
    high = np.empty(3)
    for axis in range(3):
        high[axis] = low[axis] + shape[axis] * cell
    near, far = crossing(origin, direction, low, high)
    place, first = np.empty(3), np.empty(3, np.int64)
    found = 0
    k = 0
    while found < most:
        t = near + (k + shift) * step
        if t >= far:
            return found
        inside = True
        for axis in range(3):
            place[axis] = (origin[axis] + t * direction[axis] - low[axis]) / cell
            first[axis] = int(np.floor(place[axis]))
            inside = inside and 0 <= first[axis] < shape[axis]
        if not inside:  # by rounding, at the faces of the box
            k += 1
            continue
        if cells[first[0], first[1], first[2]]:
            if found < len(distances):
                distances[found] = t
            found += 1
            k += 1
            continue
        edge = 1
        if not bricks[first[0] // BRICK, first[1] // BRICK, first[2] // BRICK]:
            edge = BRICK
            for axis in range(3):
                first[axis] -= first[axis] % BRICK
        out = t + leap(place, direction, first, edge) * cell
        # the sample before the border again, should rounding have placed the border too far
        k = max(k + 1, int(np.floor((out - near) / step - shift)))
    return found


@kernel
def count_samples(origins, directions, low, cell, cells, bricks, step, shifts, counts, most):  # type: ignore[no-untyped-def]
    """[n] int64: how many samples each ray has, counted up to `most`."""
    none = np.empty(0, np.float32)
    for ray in range(len(origins)):
        counts[ray] = march_ray(origins[ray], directions[ray], low, cell, cells, bricks, step, shifts[ray], none, most)


@kernel
def fill_samples(origins, directions, low, cell, cells, bricks, step, shifts, offsets, distances):  # type: ignore[no-untyped-def]
    """The samples of ray i into distances[offsets[i] : offsets[i + 1]]."""
    for ray in range(len(origins)):
        part = distances[offsets[ray] : offsets[ray + 1]]
        march_ray(origins[ray], directions[ray], low, cell, cells, bricks, step, shifts[ray], part, len(part))
