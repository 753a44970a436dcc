"""Networks that guide masks: their integers F, and the values and masks that follow from these."""

from collections.abc import Mapping, Sequence
from itertools import product
from typing import Any, final

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.testing.oracle.fields import Field
from fieldcodec.testing.oracle.leaf_masks import Bits, Origin
from fieldcodec.testing.oracle.margin_masks import decode_margin_masks
from fieldcodec.testing.oracle.scale import Scale

LEAF_MASKS = 7
_UNIT = 16384
_MOST = 1 << 30
_NOWHERE = -32768  # margin where no expert has the voxel


def guides_masks(description: Any) -> bool:
    """Whether the values of a network guide masks."""
    guided = description.get("guided", False)
    if type(guided) is not bool:
        raise FormatError("whether values guide masks is not understood")
    return guided and description.get("method") == "network"


@final
class Guide:
    """A regressor; `scale` has units of `scale` / 16384."""

    def __init__(self, field: Field | None, scale: Scale, sections: Mapping[int, bytes]) -> None:
        if field is None:
            raise FormatError("the network of the values is missing")
        self._field, self._scale, self._data = field, scale, sections.get(LEAF_MASKS, b"")
        self._fixed = np.zeros((scale.kind.channels, 0, 512))

    def slot_hints(self, lower_origins: Sequence[Origin]) -> None:
        """Nothing is known of slots."""

    def leaf_masks(self, origins: Sequence[Origin]) -> list[Bits]:
        """Active bits; computes F on the way."""
        voxels = product(origins, list(product(range(8), repeat=3)))
        outputs = [self._field.integers((x + i, y + j, z + k), _UNIT) for (x, y, z), (i, j, k) in voxels]
        nothing = [0] * self._scale.kind.channels
        limited = [[min(max(y, -_MOST), _MOST) for y in output or nothing] for output in outputs]
        self._fixed = np.array(limited, np.float64).reshape(len(origins), 512, -1).transpose(2, 0, 1)
        nowhere = np.array([output is None for output in outputs], bool).reshape(-1, 512)
        margins = np.where(nowhere, _NOWHERE, self._scale.margins(list(self._fixed)))
        return decode_margin_masks(self._data, origins, margins)

    def values(self, origins: Sequence[Origin], masks: Sequence[Bits]) -> np.ndarray:
        """[leaves, 512, C], of which those of active voxels count."""
        scale = self._scale
        parts = [scale.rounded(channel, fixed, scale.dtype) for channel, fixed in enumerate(self._fixed)]
        return np.stack([part.astype(scale.kind.dtype) for part in parts], axis=-1)
