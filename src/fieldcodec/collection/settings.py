"""Every knob of the collection codec, with presets."""

from dataclasses import dataclass
from typing import Any, Literal

from fieldcodec.knobs import changed_knobs, check_knobs, preset_of, refuse_unknown_knobs
from fieldcodec.nets.recursive_spec import MAX_LODS, Colour, Fusion, RecursiveSpec

_CHOICES = {
    "fusion": ("cat", "sum"),
    "colour": ("auto", "none"),
    "optimiser": ("muon", "adam", "adamw"),
    "schedule": ("cosine", "constant"),
    "unfolding": ("teacher", "coarse-to-fine"),
    "precision": ("single", "mixed"),
    "scene_preset": ("draft", "balanced", "fine"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "lods": (1, MAX_LODS), "latent": (1, 4096), "base_width": (1, 1 << 14), "base_layers": (1, 8), "width": (1, 4096),
    "layers": (1, 8), "steps": (0, 10**8), "minutes": (0, 10**5), "objects_per_step": (1, 4096),
    "points_per_object": (1, 1 << 20), "learning_rate": (0, 1), "latent_rate": (0, 1), "warm_up": (0, 1),
    "weight_decay": (0, 1), "clip": (0, 1e6), "occupancy_weight": (0, 1e6), "geometry_weight": (0, 1e6),
    "colour_weight": (0, 1e6), "radiance_weight": (0, 1e6), "density_weight": (0, 1e6),
    "weight_bits": (3, 12), "latent_bits": (3, 12),
    "settle": (0, 1), "surface_points": (1000, 10**7), "seed": (0, 2**32 - 1), "matrix_rate": (0, 1),
    "level_dropout": (0, 1), "scene_factor": (1, 64), "picture_share": (0, 1),
    "detail_level": (0, MAX_LODS), "rays_per_object": (1, 1 << 16), "picture_weight": (0, 1e6),
}  # fmt: skip


@dataclass(frozen=True)
class CollectionSettings:
    """Settings of one encode of a collection.

    The string under each field is also the help text of the command's option.
    """

    lods: int = 5
    """Levels of detail below the root: the finest cells are 2 / 2^lods of the cube around an object."""
    latent: int = 32
    """Numbers that stand for one object (D)."""
    base_width: int = 256
    """Neurons of the hidden layer of the network that splits a latent in eight (phi)."""
    base_layers: int = 1
    """Hidden layers of phi."""
    width: int = 64
    """Neurons of the hidden layers of the networks for occupancy, distance and colour."""
    layers: int = 2
    """Hidden layers of these."""
    fusion: Fusion = "cat"
    """Put the latents of the levels side by side (better), or add them up (smaller)."""
    colour: Literal["auto", "none"] = "auto"
    """Store the colours of surfaces that have some, or of none."""
    steps: int = 0
    """Training steps; 0: as many as `minutes` allow."""
    minutes: float = 10.0
    """How long to train where no number of steps is given."""
    objects_per_step: int = 4
    """Objects whose trees are unfolded in one step."""
    points_per_object: int = 2048
    """Samples of the field of each of them; with colours, half of them of colour."""
    optimiser: Literal["muon", "adam", "adamw"] = "muon"
    """Muon for matrices and Adam for the rest; Adam; AdamW as in the source."""
    schedule: Literal["cosine", "constant"] = "cosine"
    """Rates that fall to nothing, or stay, as in the source."""
    unfolding: Literal["teacher", "coarse-to-fine"] = "teacher"
    """All levels from the start, as in the source, or one after another."""
    learning_rate: float = 2e-3
    """Of the networks; with Muon, of their biases."""
    matrix_rate: float = 3e-3
    """Of the networks' matrices, with Muon."""
    latent_rate: float = 5e-3
    """Of the latents."""
    warm_up: float = 0.03
    """Part of the steps in which rates rise."""
    weight_decay: float = 0.0
    """Of AdamW."""
    clip: float = 1.0
    """Largest norm of the gradients of the networks; 0: any."""
    occupancy_weight: float = 2.0
    """Of the cross entropy of occupancy (w_o)."""
    geometry_weight: float = 50.0
    """Of the absolute error of distances (w_g); 10 in the source, but 50 gives better surfaces with Muon."""
    colour_weight: float = 1.0
    """Of the error of the colours of surfaces (w_c)."""
    radiance_weight: float = 20.0
    """Of the error of the colours of radiance fields (their w_c); 1 in the source, but 20 gives better pictures."""
    density_weight: float = 10.0
    """Of the absolute error of the opacities of radiance fields (their w_g); 1 in the source."""
    picture_share: float = 0.0
    """Last part of the training in which radiance fields from posed pictures are fitted to these, too; 0: never."""
    picture_weight: float = 20.0
    """Of the squared error of pixels."""
    rays_per_object: int = 256
    """Pixels of the pictures of each radiance field in a step."""
    level_dropout: float = 0.1
    """Share of the samples that see only the levels down to a random one, so that coarse levels mean something too."""
    detail_level: int = 0
    """Level of detail whose cells have latents of their own, added to what their object's unfolds to; 0: none has."""
    precision: Literal["single", "mixed"] = "single"
    """Mixed: matrix products in 16 bits on a GPU."""
    weight_bits: int = 6
    """Bits of a weight before entropy coding."""
    latent_bits: int = 8
    """Bits of a number of a latent before entropy coding."""
    settle: float = 0.25
    """Part of the steps made with rounded weights and latents, so that they adapt to it."""
    surface_points: int = 300_000
    """Points drawn from each surface, or where light of a radiance field comes from."""
    scene_preset: Literal["draft", "balanced", "fine"] = "balanced"
    """Of posed pictures: how the grid is fitted that their radiance field is taken from."""
    scene_factor: int = 1
    """Of posed pictures: how many times smaller they are made first."""
    seed: int = 0
    """Makes encoding repeatable on one machine."""

    def __post_init__(self) -> None:
        check_knobs(self, _CHOICES, _RANGES)

    def spec(self, colour: Colour) -> RecursiveSpec:
        """The networks."""
        return RecursiveSpec(
            self.latent, self.lods, self.base_width, self.base_layers, self.width, self.layers, self.fusion, colour
        )

    @staticmethod
    def preset(name: str) -> "CollectionSettings":
        """Settings by name; see `PRESETS`."""
        return preset_of(PRESETS, name)

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults."""
        return changed_knobs(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "CollectionSettings":
        """Settings from `to_json`; keys of other versions are refused by name."""
        refuse_unknown_knobs(CollectionSettings, data)
        return CollectionSettings(**data)


PRESETS: dict[str, CollectionSettings] = {
    "balanced": CollectionSettings(),
    # fewer weights of fewer bits
    "small": CollectionSettings(base_width=128, weight_bits=5),
    # finer cells and larger networks, for many objects or details
    "fine": CollectionSettings(lods=6, latent=48, base_width=512, width=96, minutes=60.0),
    # the source's setting for small collections; hours on a GPU
    "paper": CollectionSettings(
        lods=6, latent=64, base_width=1024, width=256, objects_per_step=1, points_per_object=16384, optimiser="adamw",
        schedule="constant", learning_rate=2e-5, latent_rate=1e-4, warm_up=0.0, weight_decay=0.01, clip=0.0,
        geometry_weight=10.0, density_weight=1.0, radiance_weight=1.0, level_dropout=0.0,
    ),
}  # fmt: skip
