"""Shapes of arrays as types (jaxtyping); the tests check them at run time, users pay nothing.

Names of axes: experts K, points, leaves N, lower nodes L, channels or outputs C.
"""

import numpy as np
from jaxtyping import Bool, Float32, Int, Int64, UInt8

Points = Int[np.ndarray, "points 3"]  # integer index coordinates
LeafOrigins = Int[np.ndarray, "leaves 3"]  # multiples of 8
LeafMasks = UInt8[np.ndarray, "leaves 64"]  # packed, see grid.masks
LeafHints = UInt8[np.ndarray, "leaves 512"]  # what the level-0 classifier says, see coding.masks
LeafBits = Bool[np.ndarray, "leaves 512"]
LowerOrigins = Int[np.ndarray, "lowers 3"]  # multiples of 128
SlotHints = UInt8[np.ndarray, "lowers 4096"]  # what the level-1 classifier says, see coding.node_masks
Logits = Int64[np.ndarray, "points outputs"]  # in 1/16 nat
PointValues = Float32[np.ndarray, "points outputs"]
LocalSamples = Float32[np.ndarray, "experts samples 3"]  # voxels from each expert's corner
TargetSamples = Float32[np.ndarray, "experts samples outputs"]
Rows = Int64[np.ndarray, " _"]  # row numbers; lists of these differ in length
