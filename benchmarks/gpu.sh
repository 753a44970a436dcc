#!/usr/bin/env bash
# The GPU part of the tests, then the Bunny with the paper's hyper-parameters on the GPU; leaves JSON.
#   benchmarks/gpu.sh DATA_FOLDER [RESULTS_FOLDER]
# Needs an NVIDIA GPU, and fieldcodec with its extras (`all`, `dev`) installed for $PYTHON (python3 unless set).
set -euo pipefail
data=$(realpath "${1:?the first argument is the folder of real volumes}")
cd "$(dirname "$0")/.."
results=$(realpath -m "${2:-benchmarks/results}")
python=${PYTHON:-python3}

"$python" -c 'import torch; assert torch.cuda.is_available(), "no CUDA device"; print(torch.cuda.get_device_name())'
FAIL_WITHOUT_GPU=1 FIELDCODEC_DATA="$data" "$python" -m pytest -m needs_gpu
"$python" benchmarks/run.py --data "$data" --only bunny-paper --device cuda --out "$results"
"$python" benchmarks/run.py --data "$data" --only bunny --device cuda --out "$results"
