"""Lets these tests import the modules of `benchmarks/`, which import each other as scripts do."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[3] / "benchmarks"))
