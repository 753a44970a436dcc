"""The shape of a recursive field network as plain data: what a file stores so that the same one can be built again."""

from collections.abc import Collection
from dataclasses import asdict, dataclass, fields
from itertools import pairwise
from typing import Any, Literal

from fieldcodec.errors import FormatError

Fusion = Literal["cat", "sum"]
Colour = Literal["none", "rgb", "radiance", "none+radiance", "rgb+radiance"]
Kind = Literal["distance", "coloured", "radiance"]
"""What an object is: a signed distance, one with colours on its surface, or density and colours by direction."""
MAX_LODS = 9
_LIMITS = {"latent": 4096, "lods": MAX_LODS, "base_width": 1 << 14, "base_layers": 8, "width": 4096, "layers": 8}
_MAX_PARAMETERS = 1 << 28
# of objects in a file of each colour; an object is of the first one where the file says nothing of it
_KINDS: dict[Colour, tuple[Kind, ...]] = {
    "none": ("distance",),
    "rgb": ("coloured", "distance"),
    "radiance": ("radiance",),
    "none+radiance": ("distance", "radiance"),
    "rgb+radiance": ("coloured", "distance", "radiance"),
}


@dataclass(frozen=True)
class RecursiveSpec:
    """phi, omega, psi and xi of ReFiNe: sine layers throughout, the output layer of each linear.

    phi splits a latent into those of eight children, omega says of each child whether it is occupied, psi gives the
    signed distance of a fused latent, xi its colour. Radiance fields have opacity and colours by direction instead:
    by psi and xi where there are no other objects, else by heads of their own, rho and chi.
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
    """Neurons of a hidden layer of omega, psi, xi, rho and chi."""
    layers: int = 2
    """Hidden layers of these."""
    fusion: Fusion = "cat"
    """Latents of the levels are put side by side, or added up."""
    colour: Colour = "none"
    """No colour net, one of the fused latent alone, or one that sees the direction of the ray too (radiance); with
    "+radiance" radiance fields are among shapes without or with colours."""

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
        if self.colour not in ("none", "none+radiance"):
            chains["xi"] = [self.fused + (3 if self.colour == "radiance" else 0), *hidden, 3]
        if len(self.kinds) > 1 and "radiance" in self.kinds:
            chains |= {"rho": [self.fused, *hidden, 1], "chi": [self.fused + 3, *hidden, 3]}
        return {name: list(pairwise(chain)) for name, chain in chains.items()}

    @property
    def kinds(self) -> tuple[Kind, ...]:
        """What objects may be; the first one is what an object is unless its file says otherwise."""
        return _KINDS[self.colour]

    def heads(self, kind: Kind) -> tuple[str, str | None]:
        """The networks that give distance or opacity, and colour if any, of an object."""
        if kind == "radiance":
            return ("psi", "xi") if self.colour == "radiance" else ("rho", "chi")
        return "psi", "xi" if kind == "coloured" else None

    @property
    def num_parameters(self) -> int:
        """Weights and biases of all networks; latents are not among them."""
        return sum(i * o + o for layers in self.networks.values() for i, o in layers)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def colour_for(kinds: Collection[Kind]) -> Colour:
        """The colour that a file of objects of some kinds needs, at least one object."""
        return next(colour for colour, allowed in _KINDS.items() if set(kinds) <= set(allowed))

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
        if data["fusion"] not in ("cat", "sum") or not isinstance(data["colour"], str) or data["colour"] not in _KINDS:
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
