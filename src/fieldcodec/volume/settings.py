"""Every knob of the volume codec, with presets (NeuralVDB, Table 4 and Appendix E)."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Literal

from fieldcodec.errors import UsageError
from fieldcodec.knobs import changed_knobs, check_knobs, preset_of, refuse_unknown_knobs
from fieldcodec.volume.grid_quality import parse_grid_quality, single_demands
from fieldcodec.volume.quality import Quality

_CHOICES = {
    "method": ("auto", "lattice", "network", "smallest"),
    "tree": ("auto", "explicit", "neural"),
    "topology": ("exact", "tolerant"),
    "weights": ("quantised", "half"),
    "activation": ("sin", "relu", "tanh"),
    "feature_map": ("fourier", "hash"),
    "non_finite": ("refuse", "replace"),
}
_RANGES: dict[str, tuple[float, float]] = {
    "weight_bits": (3, 12), "target_rmse": (0, 1), "tolerance": (0, 1), "level1_width": (0, 4096),
    "level1_depth": (1, 16), "tile_width": (0, 4096), "tile_depth": (1, 16), "level0_width": (0, 4096),
    "level0_depth": (1, 16), "value_width": (0, 4096), "value_depth": (1, 16), "frequency": (1e-3, 1e3),
    "fourier_scale": (0, 1e3), "fourier_size": (0, 8192), "hash_levels": (1, 32), "hash_log2_table": (4, 24),
    "hash_features": (1, 16), "hash_base": (1, 4096), "hash_finest": (1, 65536), "subdomain_size": (64, 65536),
    "learning_rate": (1e-7, 1), "refine_learning_rate": (0, 1), "decay": (1e-3, 1), "decay_interval": (1, 10**6),
    "epochs": (0, 10**7), "batch_size": (1, 1 << 22), "sample_interval": (1, 10**5), "settle": (0, 1),
    "seed": (0, 2**32 - 1), "rounding_tolerance": (0, 100), "stored_level": (0, 4),
}  # fmt: skip


@dataclass(frozen=True)
class VolumeSettings:
    """Settings of one encode; a width, size, scale or number of epochs of 0 is chosen from the volume.

    The string under each field is also the help text of the command's option.
    """

    quality: Quality = field(default_factory=Quality)
    """What may be lost; see `volume.quality`."""
    grid_quality: tuple[str, ...] = ()
    """What may be lost of single grids, instead: GRID:DEMAND=VALUE, such as density:psnr=40 velocity:rmse=0.01, or both
    with a comma between; the demands are those of the options --rmse, --psnr, --max-error, --iou, --mcd, --size and
    --lossless."""
    stored_level: int = 0
    """Also store grids at this level of detail: 1 is half the resolution, 2 a quarter, up to 4. This level and coarser
    ones are then decoded without full resolution, in a small part of its time and memory. 0: none."""
    method: Literal["auto", "lattice", "network", "smallest"] = "auto"
    """What holds the values of voxels: a lattice of spline coefficients; networks, as in the paper; auto: the lattice
    unless a setting asks for what only networks have (a neural tree, tolerant topology), for networks were larger in
    all that was measured and take minutes; smallest: both are tried, the smaller one that is good enough is kept."""
    tree: Literal["auto", "explicit", "neural"] = "auto"
    """What holds the topology: masks coded explicitly, i.e. [Hash,5,4,NN(3)]; classifiers with coded corrections,
    i.e. [Hash,5,NN(4),NN(3)]; or whichever is smaller."""
    topology: Literal["exact", "tolerant"] = "exact"
    """Exact restores every active state; tolerant leaves mistakes of the level-0 classifier where they do not matter
    (section 3.3.2) and reports how many."""
    tolerance: float = 0.1
    """With tolerant topology: how far, as a part of the value range, a wrong voxel may be from not mattering."""
    weights: Literal["quantised", "half"] = "quantised"
    """Store network weights as integers with an entropy coder, or in 16 bits with Blosc as the paper does."""
    weight_bits: int = 8
    """Bits of a quantised weight before entropy coding."""
    target_rmse: float = 0.03
    """Where no quality is asked for: the root mean square error of active values, as a part of their range. A network
    stops when it is below this (0: never); with a lattice, the surface of a level set may be off by twice as many
    voxels."""
    level1_width: int = 0
    """Neurons per layer of the level-1 classifier."""
    level1_depth: int = 3
    """Hidden layers of the level-1 classifier."""
    tile_width: int = 16
    """Neurons per layer of the tile value regressor."""
    tile_depth: int = 3
    """Hidden layers of the tile value regressor."""
    level0_width: int = 0
    """Neurons per layer of the level-0 classifier."""
    level0_depth: int = 3
    """Hidden layers of the level-0 classifier."""
    value_width: int = 0
    """Neurons per layer of the voxel value regressor."""
    value_depth: int = 3
    """Hidden layers of the voxel value regressor."""
    activation: Literal["sin", "relu", "tanh"] = "sin"
    """Sine suits smooth and unstructured volumes, ReLU flat and artificial ones (Appendix D)."""
    frequency: float = 1.5
    """Frequency of the sine activation; 1.5 to 3 in the paper."""
    feature_map: Literal["fourier", "hash"] = "fourier"
    """Fourier feature mapping or multi-resolution hash grid."""
    fourier_scale: float = 0.0
    """Standard deviation of the Fourier frequencies, in turns across a subdomain."""
    fourier_size: int = 0
    """Number of Fourier frequencies; each gives a sine and a cosine."""
    hash_levels: int = 8
    """Levels of the hash grid."""
    hash_log2_table: int = 11
    """Log2 of the entries of one level's table."""
    hash_features: int = 2
    """Features of one entry."""
    hash_base: int = 8
    """Cells across a subdomain on the coarsest level."""
    hash_finest: int = 128
    """Cells across a subdomain on the finest level."""
    subdomain_size: int = 1024
    """Side of a subdomain in voxels; each has networks of its own (section 3.4)."""
    learning_rate: float = 0.005
    """Adam's learning rate at the start."""
    refine_learning_rate: float = 0.0
    """Learning rate for frames after the first of a sequence; 0: `learning_rate`."""
    decay: float = 0.9
    """Factor on the learning rate every `decay_interval` epochs."""
    decay_interval: int = 100
    """Epochs between two decays."""
    epochs: int = 0
    """Most batches of one network (the paper calls a batch an epoch)."""
    batch_size: int = 1 << 14
    """Samples of one subdomain in one batch."""
    sample_interval: int = 1
    """Batches made from one drawn subset."""
    settle: float = 0.25
    """Part of the epochs made with rounded weights, so that the network adapts to them; quantised weights only."""
    non_finite: Literal["refuse", "replace"] = "refuse"
    """What to do with NaN and infinite active values: refuse the grid, or replace them by the background."""
    seed: int = 0
    """Makes encoding repeatable on one machine."""
    rounding_tolerance: float = 0.3
    """Weights get fewer bits than `weight_bits` as long as rounding raises the loss of a network by no more than this
    part, or up to what `target_rmse` allows; training with rounded weights then takes most of it back. 0: never."""

    def __post_init__(self) -> None:
        check_knobs(self, _CHOICES, _RANGES)
        parse_grid_quality(self.grid_quality)
        if self.subdomain_size % 8:
            raise UsageError(f"subdomain_size is {self.subdomain_size}; it must be a multiple of 8")
        if self.hash_finest < self.hash_base:
            raise UsageError(f"hash_finest {self.hash_finest} is below hash_base {self.hash_base}")

    @staticmethod
    def preset(name: str) -> "VolumeSettings":
        """Settings by name; see `PRESETS`."""
        return preset_of(PRESETS, name)

    def to_json(self) -> dict[str, Any]:
        """What differs from the defaults."""
        return changed_knobs(self)

    @staticmethod
    def from_json(data: dict[str, Any]) -> "VolumeSettings":
        """Settings from `to_json`; keys of other versions are refused by name."""
        refuse_unknown_knobs(VolumeSettings, data)
        known = dict(data)
        if "quality" in known:
            known["quality"] = Quality.from_json(known["quality"])
        if "grid_quality" in known:
            items = known["grid_quality"]
            if not isinstance(items, list | tuple) or not all(isinstance(item, str) for item in items):
                raise UsageError(f"grid_quality is {items!r}; needed is a list of texts such as density:psnr=40")
            known["grid_quality"] = tuple(items)
        return VolumeSettings(**known)

    def of_grid(self, name: str) -> "VolumeSettings":
        """The settings of one grid: `quality` is what is asked of it."""
        if not self.grid_quality:
            return self
        return replace(self, quality=parse_grid_quality(self.grid_quality).get(name, self.quality), grid_quality=())

    def of_grids(self, names: Sequence[str]) -> "VolumeSettings":
        """The same settings without what is asked of other grids; of a frame, where grids come and go."""
        asked = [part for item in self.grid_quality for part in single_demands(item)]
        return replace(self, grid_quality=tuple(part for part in asked if part.rpartition(":")[0] in names))

    @property
    def wants_network(self) -> bool:
        """Whether networks are asked for, by name or by what only they have."""
        return self.method == "network" or (
            self.method == "auto" and (self.tree == "neural" or self.topology == "tolerant")
        )

    def resolved(self, num_active: int, roughness: float = 0.0) -> "VolumeSettings":
        """The same settings with every 0 replaced, by Appendix E's rules scaled to the volume.

        A level-0 network is as wide as the number of active voxels asks for: 64 at a million, 168 at 25 million
        (the appendix starts with 128). A regressor of rough values is up to twice as wide. Level-1 networks are
        half as wide, the Fourier mapping has one and a half times as many frequencies as the network is wide, and
        they are finer for wide networks and for rough values.

        Args:
            roughness: of the values, see `volume.roughness`.
        """
        natural = min(8 * max(4, round(8 * (max(num_active, 1) / 1e6) ** 0.3)), 512)
        rough = 8 * round(natural / 8 * min(max((roughness / 0.025) ** 0.5, 1.0), 2.0))
        value_width = self.value_width or rough
        return replace(
            self,
            value_width=value_width,
            level0_width=self.level0_width or natural,
            level1_width=self.level1_width or max(16, natural // 2),
            fourier_size=self.fourier_size or value_width * 3 // 2,
            fourier_scale=self.fourier_scale or _fourier_scale(value_width, roughness),
            epochs=self.epochs or 2000,
        )


def _fourier_scale(width: int, roughness: float) -> float:
    """Turns across a subdomain; measured on level sets of 125 and 628 voxels and on two smoke volumes."""
    if roughness < 0.01:
        return 3.0 if width <= 48 else 5.0
    return 5.0 if width <= 64 else 8.0


_TABLE4 = VolumeSettings(
    method="network", tree="neural", weights="half", target_rmse=0.0, learning_rate=1e-3, decay=0.975,
    decay_interval=100, epochs=2500, batch_size=1 << 16, settle=0.0,
)  # fmt: skip
_RESAMPLED = replace(_TABLE4, activation="relu", decay=0.75, decay_interval=1000)


def _row(
    base: VolumeSettings, subdomain: int, level1: int, level0: tuple[int, int], value: tuple[int, int],
    fourier: tuple[float, int], frequency: float = 1.5, tile: int = 16, **other: Any,
) -> VolumeSettings:  # fmt: skip
    """One row of Table 4: (depth, width) of the networks, (scale, size) of the Fourier mapping."""
    return replace(
        base, subdomain_size=subdomain, level1_width=level1, level0_depth=level0[0], level0_width=level0[1],
        value_depth=value[0], value_width=value[1], fourier_scale=fourier[0], fourier_size=fourier[1],
        frequency=frequency, tile_width=tile, **other,
    )  # fmt: skip


PRESETS: dict[str, VolumeSettings] = {
    "balanced": VolumeSettings(),
    "small": VolumeSettings(target_rmse=0.06, weight_bits=7),
    "fine": VolumeSettings(target_rmse=0.01, epochs=8000, decay=0.97),
    # the paper's networks, sized from the volume
    "network": VolumeSettings(method="network"),
    # Appendix E's starting point, stored as in the paper
    "paper": _row(_TABLE4, 1024, 64, (3, 128), (3, 128), (5.0, 128)),
    # the rows of Table 4
    "paper-bunny": _row(_TABLE4, 1024, 48, (3, 96), (3, 96), (5.0, 192), 3.0),
    "paper-armadillo": _row(_TABLE4, 1024, 48, (3, 96), (3, 96), (5.0, 192), 3.0),
    "paper-dragon": _row(_TABLE4, 1024, 64, (3, 128), (3, 128), (10.0, 256)),
    "paper-lucy": _row(_TABLE4, 2048, 128, (3, 256), (3, 256), (10.0, 256)),
    "paper-emu": _row(
        _RESAMPLED, 2048, 192, (3, 384), (3, 384), (10.0, 384), epochs=10000, sample_interval=500, batch_size=1 << 12
    ),
    "paper-thai-statue": _row(_TABLE4, 2048, 128, (4, 256), (3, 256), (10.0, 512)),
    "paper-space": _row(_TABLE4, 2048, 96, (3, 192), (3, 192), (10.0, 384), activation="relu"),
    "paper-crawler": _row(
        _RESAMPLED, 1536, 192, (4, 384), (4, 384), (20.0, 768), learning_rate=2e-4, epochs=6000, sample_interval=100
    ),
    "paper-bunny-cloud": _row(_TABLE4, 1024, 64, (3, 192), (3, 192), (5.0, 192), 3.0),
    "paper-chameleon": _row(_TABLE4, 1024, 128, (3, 256), (3, 256), (10.0, 256), 3.0),
    "paper-disney-cloud": _row(
        _RESAMPLED, 1536, 256, (4, 512), (4, 512), (20.0, 512), 2.0, 128,
        activation="sin", epochs=10000, sample_interval=500, batch_size=1 << 12,
    ),
    "paper-leveque": _row(_TABLE4, 1024, 96, (3, 192), (3, 192), (2.0, 192), refine_learning_rate=2e-4),
    "paper-smoke-plume": _row(_TABLE4, 512, 48, (3, 256), (3, 256), (10.0, 384), 3.0, refine_learning_rate=1e-4),
    "paper-dust-impact": _row(_TABLE4, 512, 48, (3, 128), (3, 128), (15.0, 192)),
    "paper-tornado": _row(_TABLE4, 512, 48, (3, 128), (3, 128), (15.0, 256)),
    "paper-ship-breach": _row(
        _TABLE4, 1024, 96, (3, 192), (3, 256), (10.0, 384), epochs=5000, refine_learning_rate=1e-3
    ),
}  # fmt: skip
