"""How near a shape is to the true one: distances of surfaces, overlap of insides, normals and colours.

Lengths are those of the points that are given; whoever compares with published numbers must scale objects alike
(ReFiNe: the largest absolute coordinate is 0.9; squared distances grow with the square of the scale).
"""

from dataclasses import dataclass

import numpy as np

from fieldcodec.errors import UsageError
from fieldcodec.metrics.nearest import nearest_neighbours

CHAMFER_FACTOR = 1000.0


@dataclass(frozen=True)
class SurfaceMatch:
    """Two sets of points on two surfaces, compared both ways."""

    chamfer: float
    """Mean squared distance to the nearest point, both directions added, times 1000 (CD as ROAD and NGLOD have it)."""
    mean_distance: float
    """Mean distance to the nearest point, mean of both directions."""
    normal_consistency: float | None
    """Mean |cosine| between normals of nearest points, mean of both directions; None without normals."""
    points: int
    """Of the true surface."""
    predicted_points: int


def match_surfaces(
    true_points: np.ndarray,
    points: np.ndarray,
    true_normals: np.ndarray | None = None,
    normals: np.ndarray | None = None,
    *,
    threads: int | None = None,
) -> SurfaceMatch:
    """Compare points [n, 3] of a true surface with points [m, 3] of a predicted one; normals are unit vectors.

    Even equal surfaces have a distance, since their points differ: about area / (pi n) in each direction, squared. See
    `sampling_floor`.

    Raises:
        UsageError: a set is empty or holds what is no number.
    """
    there, nearest = nearest_neighbours(true_points, points, threads)
    back, nearest_true = nearest_neighbours(points, true_points, threads)
    consistency = None
    if true_normals is not None and normals is not None:
        cosines = (true_normals * normals[nearest]).sum(axis=1), (normals * true_normals[nearest_true]).sum(axis=1)
        consistency = float(np.mean([np.abs(both).mean() for both in cosines]))
    return SurfaceMatch(
        chamfer=CHAMFER_FACTOR * float(np.square(there).mean() + np.square(back).mean()),
        mean_distance=float((there.mean() + back.mean()) / 2),
        normal_consistency=consistency,
        points=len(true_points),
        predicted_points=len(points),
    )


def sampling_floor(area: float, points: int, predicted_points: int) -> float:
    """The CD that two independent, even samples of one smooth surface have: area / pi (1 / n + 1 / m), times 1000."""
    return CHAMFER_FACTOR * area / np.pi * (1 / points + 1 / predicted_points)


def overlap(true_inside: np.ndarray, inside: np.ndarray) -> float | None:
    """gIoU: 100 |both inside| / |either inside| over points [n] bool; None where none is."""
    if true_inside.shape != inside.shape:
        raise UsageError(f"insides of shapes {true_inside.shape} and {inside.shape} are not of the same points")
    union = int(np.count_nonzero(true_inside | inside))
    return 100.0 * int(np.count_nonzero(true_inside & inside)) / union if union else None


def colour_psnr(true_colours: np.ndarray, colours: np.ndarray) -> float:
    """3D PSNR in dB of colours [n, 3] in 0 .. 1 at points of a surface; infinite where they are equal."""
    if true_colours.shape != colours.shape or not true_colours.size:
        raise UsageError(f"colours of shapes {true_colours.shape} and {colours.shape} cannot be compared")
    error = float(np.square(true_colours.astype(np.float64) - colours).mean())
    return float("inf") if error == 0 else -10.0 * float(np.log10(error))


def triangle_area(vertices: np.ndarray, triangles: np.ndarray) -> float:
    """Of all triangles together."""
    corners = vertices[triangles]
    across = np.cross(corners[:, 1] - corners[:, 0], corners[:, 2] - corners[:, 0])
    return float(np.linalg.norm(across, axis=1).sum() / 2)
