"""The architecture against the paper's own parameter counts (Table 1 and Table 2)."""

import pytest

from fieldcodec.errors import FormatError
from fieldcodec.nets.experts import ExpertNetwork
from fieldcodec.nets.spec import NetworkSpec
from fieldcodec.volume.settings import PRESETS


def _parameters(preset: str, subdomains: int, *, tiles: bool = False) -> int:
    """All networks of a grid encoded with a row of Table 4."""
    row = PRESETS[preset]
    networks = [
        (row.level1_width, row.level1_depth, 3 if tiles else 1),
        (row.level0_width, row.level0_depth, 1),
        (row.value_width, row.value_depth, 1),
    ]
    if tiles:
        networks.append((row.tile_width, row.tile_depth, 1))
    return sum(
        NetworkSpec(
            experts=subdomains, extent=1040, outputs=outputs, width=width, depth=depth,
            fourier_size=min(row.fourier_size, 2 * width),
        ).num_parameters
        for width, depth, outputs in networks
    )  # fmt: skip


@pytest.mark.parametrize(
    ("preset", "subdomains", "tiles", "published"),
    [
        ("paper-bunny", 1, False, 125_379),
        ("paper-armadillo", 6, False, 752_274),
        ("paper-dragon", 4, False, 889_868),
        ("paper-bunny-cloud", 1, True, 323_014),
        ("paper-smoke-plume", 1, True, 673_126),
    ],
)
def test_parameter_counts_are_those_of_the_paper(preset: str, subdomains: int, tiles: bool, published: int) -> None:
    assert _parameters(preset, subdomains, tiles=tiles) == published


def test_module_has_as_many_parameters_as_its_spec_says() -> None:
    for spec in (
        NetworkSpec(experts=2, extent=64, outputs=3, width=16, depth=2, fourier_size=8),
        NetworkSpec(experts=2, extent=64, outputs=1, width=16, depth=2, feature_map="hash", hash_levels=4),
    ):
        assert sum(parameter.numel() for parameter in ExpertNetwork(spec).parameters()) == spec.num_parameters


@pytest.mark.parametrize(
    "change",
    [
        {"experts": 0}, {"experts": "2"}, {"width": 1 << 20}, {"depth": 17}, {"activation": "gelu"}, {"extent": True},
        {"fourier_scale": float("nan")}, {"frequency": 0}, {"feature_map": "none"}, {"surprise": 1},
        {"experts": 65536, "width": 4096, "depth": 16}, {"fourier_size": 0},
    ],
)  # fmt: skip
def test_bad_descriptions_are_refused_before_anything_is_built(change: dict) -> None:
    good = NetworkSpec(experts=2, extent=64, outputs=1, width=16, depth=2, fourier_size=8).to_json()
    assert NetworkSpec.from_json(good).experts == 2
    with pytest.raises(FormatError):
        NetworkSpec.from_json(good | change)
