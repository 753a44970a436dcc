"""The shape of a recursive field network as plain data: what a file stores so that the same one can be built again."""

from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal

from fieldcodec.errors import FormatError

Fusion = Literal["cat", "sum"]
Colour = Literal["none", "rgb", "radiance"]
MAX_LODS = 9
_LIMITS = {"latent": 4096, "lods": MAX_LODS, "base_width": 1 << 14, "base_layers": 8, "width": 4096, "layers": 8}
_MAX_PARAMETERS = 1 << 28


@dataclass(frozen=True)
class RecursiveSpec:
    """phi, omega, psi and xi of ReFiNe: sine layers throughout, the output layer of each linear.

    phi splits a latent into those of eight children, omega says of each child whether it is occupied, psi gives the
    signed distance (or density) of a fused latent, xi its colour.
    """

    latent: int = 64
    """Numbers in a latent (D)."""
    lods: int = 6
    """Levels of detail below the root (M)."""
    base_width: int = 1024
    """Neurons of a hidden layer of phi."""
    base_layers: int = 1
    """Hidden layers of phi."""
    width: int = 256
    """Neurons of a hidden layer of omega, psi and xi."""
    layers: int = 2
    """Hidden layers of omega, psi and xi."""
    fusion: Fusion = "cat"
    """Latents of the levels are put side by side, or added up."""
    colour: Colour = "none"
    """No colour net, one of the fused latent alone, or one that sees the direction of the ray too (radiance)."""

    @property
    def fused(self) -> int:
        """Numbers in a fused latent. The root takes no part in the fusion."""
        return self.latent * self.lods if self.fusion == "cat" else self.latent

    @property
    def networks(self) -> dict[str, list[tuple[int, int]]]:
        """Name -> (inputs, outputs) of each linear layer, in the order of the data."""
        hidden = [self.width] * self.layers
        chains = {
            "phi": [self.latent, *[self.base_width] * self.base_layers, 8 * self.latent],
            "omega": [self.latent, *hidden, 2],
            "psi": [self.fused, *hidden, 1],
        }
        if self.colour != "none":
            chains["xi"] = [self.fused + (3 if self.colour == "radiance" else 0), *hidden, 3]
        return {name: list(pairwise(chain)) for name, chain in chains.items()}

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all networks; latents are not among them."""
        return sum(i * o + o for layers in self.networks.values() for i, o in layers)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Any) -> "RecursiveSpec":
        """The spec of a file's `meta` section, checked before anything is allocated.

        Raises:
            FormatError: a field is unknown, missing or outside its limits.
        """
        names = {item.name for item in fields(RecursiveSpec)}
        if not isinstance(data, dict) or set(data) != names:
            raise FormatError(f"description of a recursive network: {data!r}; needed are {', '.join(sorted(names))}")
        for name, limit in _LIMITS.items():
            value = data[name]
            if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value <= limit:
                raise FormatError(
                    f"description of a recursive network: {name} is {value!r}, allowed are whole numbers 1 to {limit}"
                )
        if data["fusion"] not in ("cat", "sum") or data["colour"] not in ("none", "rgb", "radiance"):
            raise FormatError(
                f"description of a recursive network: unknown fusion or colour {data['fusion']!r}, {data['colour']!r}"
            )
        spec = RecursiveSpec(**data)
        if spec.num_parameters > _MAX_PARAMETERS:
            raise FormatError(
                f"description of a recursive network: {spec.num_parameters} parameters, "
                f"at most {_MAX_PARAMETERS} are allowed"
            )
        return spec
