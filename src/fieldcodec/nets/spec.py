"""The shape of a network as plain data: what a file stores so that the same network can be built again."""

from dataclasses import asdict, dataclass
from itertools import pairwise
from typing import Any, Literal

from fieldcodec.errors import FormatError

Activation = Literal["sin", "relu", "tanh"]
FeatureMap = Literal["fourier", "hash"]
_LIMITS = {"experts": 1 << 16, "width": 4096, "depth": 16, "outputs": 16, "extent": 1 << 20,
           "fourier_size": 8192, "hash_levels": 32, "hash_log2_table": 24, "hash_features": 16,
           "hash_base": 1 << 12, "hash_finest": 1 << 16, "seed": (1 << 63) - 1}  # fmt: skip
_MAX_PARAMETERS = 1 << 27


@dataclass(frozen=True)
class NetworkSpec:
    """Feature mapping plus multi-layer perceptron, the same for all experts of a field.

    `depth` counts hidden layers, as "3 x 96" in Table 4 of NeuralVDB does; this reading reproduces the
    parameter counts of its Table 2 (Bunny: 125,379).
    """

    experts: int
    extent: int  # side of an expert's domain with halo, in coordinate units
    outputs: int
    width: int
    depth: int
    activation: Activation = "sin"
    frequency: float = 1.5  # of the sine activation
    feature_map: FeatureMap = "fourier"
    fourier_size: int = 0
    fourier_scale: float = 5.0
    hash_levels: int = 0
    hash_log2_table: int = 12
    hash_features: int = 2
    hash_base: int = 8
    hash_finest: int = 128
    seed: int = 0

    @property
    def num_features(self) -> int:
        return 2 * self.fourier_size if self.feature_map == "fourier" else self.hash_levels * self.hash_features

    @property
    def layer_sizes(self) -> list[tuple[int, int]]:
        """(inputs, outputs) of each linear layer."""
        sizes = [self.num_features, *[self.width] * self.depth, self.outputs]
        return list(pairwise(sizes))

    @property
    def table_shape(self) -> tuple[int, int] | None:
        """(rows, features) of one expert's hash table; None with Fourier features."""
        if self.feature_map == "fourier":
            return None
        return self.hash_levels << self.hash_log2_table, self.hash_features

    @property
    def num_parameters(self) -> int:
        """Stored numbers of all experts: weights, biases, tables. Fourier matrices come from the seed."""
        layers = sum(inputs * outputs + outputs for inputs, outputs in self.layer_sizes)
        rows, features = self.table_shape or (0, 0)
        return self.experts * (layers + rows * features)

    @property
    def multiply_adds(self) -> int:
        """Multiply-adds of one evaluation of one expert, feature mapping left out."""
        return sum(inputs * outputs for inputs, outputs in self.layer_sizes)

    def to_json(self) -> dict[str, Any]:
        return asdict(self)

    @staticmethod
    def from_json(data: Any) -> "NetworkSpec":
        """The spec of a file's `meta` section, checked before anything is allocated."""
        try:
            spec = NetworkSpec(**data)
        except TypeError as error:
            raise FormatError(f"network description in the meta section is not understood: {error}") from error
        for name, limit in _LIMITS.items():
            value = getattr(spec, name)
            if not isinstance(value, int) or isinstance(value, bool) or not 0 <= value <= limit:
                raise FormatError(f"network description: {name} is {value!r}, allowed are whole numbers 0 to {limit}")
        if spec.activation not in ("sin", "relu", "tanh") or spec.feature_map not in ("fourier", "hash"):
            raise FormatError(
                f"network description: unknown activation or mapping {spec.activation!r}, {spec.feature_map!r}"
            )
        for name in ("frequency", "fourier_scale"):
            value = getattr(spec, name)
            if not isinstance(value, float) or not 0 < value < 1e6:
                raise FormatError(
                    f"network description: {name} is {value!r}, allowed is a number with a point, 0 to 1e6"
                )
        if min(spec.experts, spec.extent, spec.outputs, spec.width, spec.hash_base) < 1 or spec.num_features < 1:
            raise FormatError("network description: sizes of zero")
        if spec.num_parameters > _MAX_PARAMETERS:
            raise FormatError(
                f"network description: {spec.num_parameters} parameters, at most {_MAX_PARAMETERS} are allowed"
            )
        return spec
