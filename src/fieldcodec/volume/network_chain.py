"""The networks of a compressed grid, those of earlier frames that they are differences to included.

frame 0, weights --> frame 1, + differences --> frame 2, + differences --> ...
"""

import numpy as np

from fieldcodec.errors import FormatError
from fieldcodec.volume.compressed_grid import CompressedGrid
from fieldcodec.volume.fields import ExpertField
from fieldcodec.volume.networks import decode_network, decode_network_differences
from fieldcodec.volume.sections import NETWORK_SECTIONS
from fieldcodec.volume.subdomains import Subdomains

DIFFERENCES = "differences"  # key of a grid's description: roles of the networks that are stored as such


def expert_field(grid: CompressedGrid, role: str) -> ExpertField | None:
    """The field of one of the networks: level1, level0, tiles or values; None where there is none.

    Raises:
        FormatError: sections are damaged, or an earlier frame has no network that this one can be a difference to.
    """
    if role not in grid.network_specs:
        return None
    chain = [grid]
    while role in _differences(chain[-1]):
        chain.append(_earlier(chain[-1], role))
    first, section = chain.pop(), NETWORK_SECTIONS[role]
    field = ExpertField(
        _subdomains(first, role),
        decode_network(first.section(section), first.network_specs[role], first.meta["weights"]),
    )
    for later in reversed(chain):
        subdomains = _subdomains(later, role)
        rows = earlier_experts(subdomains, field.subdomains)
        if rows is None:
            raise FormatError(
                f"grid {later.name!r}: network {role!r} is stored as differences to one of other subdomains"
            )
        data = later.section(section)
        frozen = decode_network_differences(data, later.network_specs[role], field.frozen, rows)
        field = ExpertField(subdomains, frozen)
    return field


def earlier_experts(subdomains: Subdomains, earlier: Subdomains) -> np.ndarray | None:
    """[K] which of the earlier experts has the domain of each one, -1 where none; None where all domains differ."""
    if (earlier.origin, earlier.size, earlier.halo) != (subdomains.origin, subdomains.size, subdomains.halo):
        return None
    known = {tuple(cell): row for row, cell in enumerate(earlier.cells.tolist())}
    return np.array([known.get(tuple(cell), -1) for cell in subdomains.cells.tolist()], np.int64)


def _subdomains(grid: CompressedGrid, role: str) -> Subdomains:
    """The domains of a network's experts, in its units; checks that the network suits them."""
    spec, subdomains = grid.network_specs[role], grid.subdomains
    if role in ("level1", "tiles"):
        subdomains = subdomains.in_leaf_units()
    outputs = {"level1": (1, 3), "level0": (1,)}.get(role, (grid.value_type.channels,))
    if spec.experts != len(subdomains) or spec.extent != subdomains.extent or spec.outputs not in outputs:
        raise FormatError(
            f"grid {grid.name!r}: network {role!r} has {spec.experts} experts of extent {spec.extent} and "
            f"{spec.outputs} outputs; needed are {len(subdomains)}, {subdomains.extent} and one of {outputs}"
        )
    return subdomains


def _differences(grid: CompressedGrid) -> list[str]:
    """Roles of the networks that are stored as differences to those of the grid's reference."""
    roles = grid.meta.get(DIFFERENCES, [])
    if not isinstance(roles, list) or any(role not in tuple(NETWORK_SECTIONS) for role in roles):
        raise FormatError(
            f"grid {grid.name!r}: {DIFFERENCES} is {roles!r}; needed is a list of some of {', '.join(NETWORK_SECTIONS)}"
        )
    return roles


def _earlier(grid: CompressedGrid, role: str) -> CompressedGrid:
    """The grid to whose network of that role this one's is a difference."""
    earlier = grid.reference
    if earlier is None or earlier.is_opaque or role not in earlier.network_specs:
        raise FormatError(
            f"grid {grid.name!r}: network {role!r} is stored as differences to an earlier frame, but there is no "
            "earlier frame with such a network"
        )
    if grid.meta["weights"] != "quantised":
        raise FormatError(f"grid {grid.name!r}: weights stored as {grid.meta['weights']!r} cannot be differences")
    return earlier
