"""Errors at equal memory as in the paper's Table 7: a field of fractal noise, sampled between voxels.

    python benchmarks/equal_memory.py [--voxels 64] [--points 1000000]

The field is a fractal Brownian motion of value noise. Lattices of spline coefficients, fitted to voxels of the noise,
and a network, trained on them, stand beside grids of as many voxels as they have coefficients or parameters. What is
counted is these numbers alone, 32 bits each; trees and look-up tables are left out for all. Voxels are sampled by
nearest, trilinear and tricubic interpolation, which is that of NanoVDB (tested in tests/conformance), the others as the
continuous field that they are. Errors are root mean squares against the noise itself.
Leaves OUT/random-access/equal-memory.json.
"""

import argparse
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from run import ROOT

import fieldcodec as fc
from fieldcodec.bench.machine import commit, machine
from fieldcodec.cli.console import to_json_text
from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.noise import FractalNoise
from fieldcodec.grid.sampling import Tree
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.lattice.fit import IMPORTANCE_ONE, FitOptions, LatticeFit
from fieldcodec.lattice.operator import Lattice
from fieldcodec.lattice.points import add_splines
from fieldcodec.volume.continuous import leaf_at

_NOISE = FractalNoise(0, 5)
_CELLS = 4.0  # of the coarsest octave, along the side of the box
_PADDING = 3  # voxels around the box, not counted, for interpolation at its border
_STRIDES = (4, 3, 2)
_FITTED = FitOptions(smoothness=1e-4, iterations=60)
_NETWORK = fc.VolumeSettings(
    method="network", value_width=40, fourier_size=60, epochs=400, target_rmse=0.0, weights="half"
)
Sample = Callable[[np.ndarray], np.ndarray]
"""[n, 3] points in index space -> [n] values."""


def sampled(voxels: int, padding: int) -> SparseGrid:
    """The noise at the middles of voxels^3 voxels of the box, and of as many around it on every side."""
    places = (np.arange(-padding, voxels + padding) + 0.5) * (_CELLS / voxels)
    points = np.stack(np.meshgrid(places, places, places, indexing="ij"), axis=-1)
    values = _NOISE(points.reshape(-1, 3)).reshape(points.shape[:3])
    return grid_of_dense("noise", values, np.ones(values.shape, bool), origin=(-padding,) * 3)


def measure(voxels: int, count: int) -> list[dict[str, Any]]:
    """One entry for each way in which ours stores the field."""
    half = 0.5 * _CELLS / voxels  # our fields end at the outermost voxels
    places = np.random.default_rng(0).uniform(half, _CELLS - half, (count, 3))
    truth = _NOISE(places).astype(np.float64)
    grid = sampled(voxels, 0)
    fields = {f"cubic/{stride}": partial(spline, grid, stride) for stride in _STRIDES} | {
        "network": partial(network, grid)
    }
    entries = []
    for name, make in fields.items():
        numbers, field = make()
        side = round(numbers ** (1 / 3))
        coarse, errors = sampled(side, _PADDING), {"ours": _rmse(field, places, voxels, truth)}
        for interpolation in ("nearest", "trilinear", "tricubic"):
            sample = partial(coarse.sample, space="index", interpolation=interpolation)
            errors[interpolation] = _rmse(sample, places, side, truth)
        entries.append({"stored": name, "numbers": numbers, "voxels_per_side": side, "rmse": errors})
        print(f"{name}: {numbers:,} numbers, {side}^3 voxels: " + ", ".join(f"{k} {e:.4f}" for k, e in errors.items()))
    return entries


def spline(grid: SparseGrid, stride: int) -> tuple[int, Sample]:
    """Coefficients of a lattice over a grid, how many there are, and the field that they are."""
    lattice, tree = Lattice.over(grid.topology.leaf_origins, stride, 3), Tree.of(grid.topology)
    active = grid.topology.leaf_active_bits
    importance = np.where(active, IMPORTANCE_ONE, 0).astype(np.uint8)
    fit = LatticeFit(lattice, grid.leaf_values[..., 0] * active, importance, _FITTED)

    def sample(points: np.ndarray) -> np.ndarray:
        values, gradients = np.zeros(len(points)), np.zeros((len(points), 3))
        add_splines(lattice, fit.coefficients, 1.0, points, leaf_at(tree, points), values, gradients)
        return values

    return len(lattice), sample


def network(grid: SparseGrid) -> tuple[int, Sample]:
    """The same of a network."""
    compressed = fc.encode_volume(grid, _NETWORK)
    access = compressed.access()
    return compressed.grids[0].parameters, partial(access.sample, space="index", interpolation="field")


def _rmse(sample: Sample, places: np.ndarray, voxels: int, truth: np.ndarray) -> float:
    """`places` are in units of the noise, the points that `sample` takes in voxels."""
    values = sample(places * (voxels / _CELLS) - 0.5).reshape(-1)
    return float(np.sqrt(np.mean(np.square(values - truth))))


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--voxels", type=int, default=64, help="along the side of the grid that is compressed")
    parser.add_argument("--points", type=int, default=1_000_000, help="how many")
    parser.add_argument("--out", type=Path, default=ROOT / "benchmarks" / "results", help="where to put the file")
    options = parser.parse_args()
    entries = measure(options.voxels, options.points)
    about = {"points": options.points, "voxels": options.voxels, "machine": machine("cpu"), "commit": commit()}
    folder = options.out / "random-access"
    folder.mkdir(parents=True, exist_ok=True)
    text = to_json_text(about | {"entries": entries})
    (folder / "equal-memory.json").write_text(text + "\n", encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
