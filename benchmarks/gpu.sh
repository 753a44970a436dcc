#!/usr/bin/env bash
# The GPU part of the tests, the fit of lattices on the CPU and on the GPU side by side, then both Bunny rows on the
# GPU, one with the paper's hyper-parameters, a collection with the source's networks, and radiance fields; leaves JSON.
#   benchmarks/gpu.sh DATA_FOLDER [RESULTS_FOLDER]
# Needs an NVIDIA GPU, and fieldcodec with its extras (`all`, `dev`) installed for $PYTHON (python3 unless set).
set -euo pipefail
data=$(realpath "${1:?the first argument is the folder of real volumes}")
cd "$(dirname "$0")/.."
results=$(realpath -m "${2:-benchmarks/results}")
python=${PYTHON:-python3}

"$python" -c 'import torch; assert torch.cuda.is_available(), "no CUDA device"; print(torch.cuda.get_device_name())'
FAIL_WITHOUT_GPU=1 FIELDCODEC_DATA="$data" "$python" -m pytest -m needs_gpu

"$python" - <<'PYTHON'
"""Seconds of a whole fit, and of its rounding, of a level set on each device."""
import time

import numpy as np
import torch

from fieldcodec.fit.torch_equations import equations_on
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.lattice.basis import name
from fieldcodec.lattice.fit import FitOptions, LatticeFit
from fieldcodec.lattice.operator import Lattice
from fieldcodec.volume.lattice_problem import LatticeProblem

STEP = 0.6
problem = LatticeProblem.of(sphere_level_set(300.0))
solvers = {each: equations_on(torch.device(each)) for each in ("cpu", "cuda")}
print(f"fit of lattices: {len(problem.origins):,} leaves, {problem.num_active:,} active voxels")
for stride, degree in ((8, 3), (4, 3), (2, 1)):
    lattice, seconds, integers = Lattice.over(problem.origins, stride, degree), {}, {}
    options = FitOptions(smoothness=0.2 * (stride / 8) ** 3, bend=4 * STEP)
    for device, solver in solvers.items():
        for _ in range(2):  # the first compiles, and takes the lattice to the device
            start = time.perf_counter()
            fit = LatticeFit(lattice, problem.targets[0], problem.importance, options, solver)
            integers[device] = fit.quantised(STEP)
            seconds[device] = time.perf_counter() - start
    print(
        f"{name(stride, degree)}: cpu {seconds['cpu']:.3f} s ({torch.get_num_threads()} threads), "
        f"cuda {seconds['cuda']:.3f} s, ratio {seconds['cpu'] / seconds['cuda']:.1f}, "
        f"equal integers {np.mean(integers['cpu'] == integers['cuda']):.4%}"
    )
PYTHON

"$python" benchmarks/run.py --data "$data" --only bunny-paper --device cuda --out "$results"
"$python" benchmarks/run.py --data "$data" --only bunny --device cuda --out "$results"
"$python" benchmarks/asset_collections.py --data "$data" --only thingi10k-paper-size --minutes 8 --device cuda \
  --output "$results/collections"
"$python" benchmarks/radiance.py --data "$data" --preset fine --factor 1 --device cuda --qualities "" --out "$results/radiance"
"$python" benchmarks/radiance_collections.py --data "$data" --grids "$results/radiance-grids" --only four-large \
  --minutes 8 --device cuda --output "$results/radiance-collections"
