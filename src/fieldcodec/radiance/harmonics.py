"""Real spherical harmonics up to degree 2: how a colour depends on the direction from which it is seen.

Order and signs are those of Plenoctrees and of Gaussian splatting:

    0: 1    1: -y  2: z  3: -x    4: xy  5: -yz  6: 2 z^2 - x^2 - y^2  7: -xz  8: x^2 - y^2

each times the factor that makes its square integrate to 1 over the sphere.
"""

import numpy as np
import torch
from torch import Tensor

COUNT = 9
CONSTANT = 0.28209479177387814  # the first of them: 1 / (2 sqrt(pi))
_LINEAR = 0.4886025119029199
_MIXED = 1.0925484305920792
_ZONAL = 0.31539156525252005
_SQUARES = 0.5462742152960396


def harmonics(directions: Tensor) -> Tensor:
    """[n, 3] unit vectors -> [n, 9]."""
    x, y, z = directions.unbind(-1)
    columns = [
        torch.full_like(x, CONSTANT),
        -_LINEAR * y, _LINEAR * z, -_LINEAR * x,
        _MIXED * x * y, -_MIXED * y * z, _ZONAL * (2 * z * z - x * x - y * y), -_MIXED * x * z,
        _SQUARES * (x * x - y * y),
    ]  # fmt: skip
    return torch.stack(columns, dim=-1)


def harmonics_of(directions: np.ndarray) -> np.ndarray:
    """[n, 3] unit vectors -> [n, 9] float32."""
    return np.asarray(harmonics(torch.from_numpy(np.ascontiguousarray(directions, np.float64))).float().numpy())
