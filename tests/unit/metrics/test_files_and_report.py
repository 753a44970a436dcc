"""Comparison of whole files, sizes, reports and tables."""

import io
import json
from dataclasses import replace

import numpy as np
import pytest
from rich.console import Console

from fieldcodec.grid.build import grid_of_dense
from fieldcodec.grid.metadata import Metadata, MetaEntry
from fieldcodec.grid.sparse_grid import OpaqueGrid, VolumeFile
from fieldcodec.grid.transform import GridTransform
from fieldcodec.io.vdb import write_vdb
from fieldcodec.metrics.files import DifferenceKind, compare_file_metadata, compare_files
from fieldcodec.metrics.quality import compare_grids
from fieldcodec.metrics.rate import bits_per_active_voxel, compression_ratio, multiply_adds, raw_vdb_bytes
from fieldcodec.metrics.report import EncodeReport, GridReport, comparison_report
from fieldcodec.metrics.tables import size

REQUIRED_KEYS = {"name", "active_voxels", "topology_differs", "iou", "mcd", "rmse", "max_error", "psnr"}


def grid(name="density", value=1.0, value_type="float", shape=(8, 8, 8)):
    channels = {"vec3s": (3,), "vec2s": (2,)}.get(value_type, ())
    values = np.full((*shape, *channels), value)
    return grid_of_dense(name, values, np.ones(shape, bool), value_type=value_type, grid_class="fog volume")


def kinds(comparison) -> list[str]:
    return [str(difference.kind) for difference in comparison.differences]


def test_equal_files_have_no_differences():
    file = VolumeFile((grid("a"), grid(""), grid(""), OpaqueGrid("p", "ptdataidx32", b"123", 224)))
    comparisons = compare_files(file, file)
    assert [item.name for item in comparisons] == ["a", "", "", "p"]
    assert all(item.is_equal for item in comparisons)
    assert [item.other_index for item in comparisons] == [0, 1, 2, 3]


def test_missing_and_extra_grids_are_named():
    comparisons = compare_files(
        VolumeFile((grid("a"), grid("b"))), VolumeFile((grid("b"), grid("c", value_type="int32")))
    )
    assert [(item.name, kinds(item)) for item in comparisons] == [
        ("a", ["missing"]), ("b", ["order"]), ("c", ["extra"]),
    ]  # fmt: skip


def test_grids_of_one_name_pair_up_in_order():
    comparisons = compare_files(VolumeFile((grid(value=1), grid(value=2))), VolumeFile((grid(value=1), grid(value=3))))
    assert [kinds(item) for item in comparisons] == [[], ["values"]]
    assert comparisons[1].quality.max_error == 1


def test_a_renamed_grid_is_compared_all_the_same():
    (comparison,) = compare_files(VolumeFile((grid("a"),)), VolumeFile((grid("b"),)))
    assert kinds(comparison) == ["name"]
    assert comparison.quality.is_exact


def test_everything_around_the_tree_is_compared():
    first = grid()
    changed = replace(
        first,
        transform=GridTransform.uniform(0.5),
        background=np.array([2], np.float32),
        save_as_half=True,
        metadata=first.metadata.with_entry(MetaEntry.of("creator", "someone")),
    ).with_class("unknown")
    (comparison,) = compare_files(VolumeFile((first,)), VolumeFile((changed,)))
    assert kinds(comparison) == ["class", "transform", "background", "storage", "metadata"]
    text = [str(difference) for difference in comparison.differences]
    assert "'creator' is missing, then 'someone' (string)" in text[-1]
    assert "0.5 0 0" in text[1]


def test_statistics_are_no_difference():
    first = grid()
    counted = replace(first, metadata=first.metadata.with_entry(MetaEntry.of("file_voxel_count", 5)))
    assert compare_files(VolumeFile((first,)), VolumeFile((counted,)))[0].is_equal


def test_types_topology_and_payload_are_compared():
    pairs = [
        (grid(), grid(value_type="vec3s"), ["type", "background"]),
        (grid(), grid(value_type="double"), ["type", "background"]),
        (grid(), grid(shape=(8, 8, 7)), ["topology"]),
        (OpaqueGrid("density", "x", b"1", 224), OpaqueGrid("density", "x", b"2", 224), ["payload"]),
        (grid(), OpaqueGrid("density", "x", b"2", 224), ["type"]),
    ]
    for first, second, expected in pairs:
        (comparison,) = compare_files(VolumeFile((first,)), VolumeFile((second,)))
        assert kinds(comparison) == expected
    assert comparison.quality is None


def test_file_metadata_is_compared_apart():
    named = VolumeFile((), Metadata((MetaEntry.of("creator", "a"),)))
    assert compare_file_metadata(named, named) == ()
    (difference,) = compare_file_metadata(named, VolumeFile(()))
    assert difference.kind == DifferenceKind.METADATA


@pytest.mark.parametrize("value_type", ["float", "double", "int32", "bool", "mask", "vec3s"])
def test_raw_bytes_are_those_of_a_real_uncompressed_file(tmp_path, value_type):
    """The difference of two files is the tree alone: header, metadata and transform are the same."""
    channels = (3,) if value_type == "vec3s" else ()
    sizes = {}
    for count in (8, 300):  # one leaf, then leaves of several lower nodes
        active = np.zeros((count, 8, 8), bool)
        active[::8] = True
        one = grid_of_dense("g", np.ones((*active.shape, *channels)), active, value_type=value_type)
        write_vdb(tmp_path / "raw.vdb", VolumeFile((one,)), compression="none", active_mask=False)
        sizes[count] = (tmp_path / "raw.vdb").stat().st_size, raw_vdb_bytes(one)
    assert sizes[300][0] - sizes[8][0] == sizes[300][1] - sizes[8][1] > 0
    assert 0 < sizes[8][0] - sizes[8][1] < 1000


def test_rates():
    assert bits_per_active_voxel(100, 400) == 2
    assert bits_per_active_voxel(100, 0) is None
    assert compression_ratio(100, 40) == 2.5
    assert compression_ratio(None, 40) is None
    assert multiply_adds([192, 96, 96, 1]) == 192 * 96 + 96 * 96 + 96


def encode_report() -> EncodeReport:
    first, second = grid(), grid(value=1.25)
    quality = compare_grids(first, second)
    return EncodeReport(
        grids=(
            GridReport(
                name="density", value_type="float", grid_class="fog volume", active_voxels=512,
                effective_resolution=(8, 8, 8), bytes_raw=raw_vdb_bytes(first), bytes_vdb16_blosc=1000, bytes=128,
                method="[Hash,5,NN(4),NN(3)]", parameters=10, multiply_adds=20, corrections=3, seconds_encode=1.5,
                seconds_decode=0.25, sections={"weights": 100, "corrections": 28}, quality=quality,
            ),
            GridReport(name="", value_type="bool", grid_class="unknown", quality=replace(quality, rmse=float("inf"))),
        ),
        bytes=500, bytes_source=2000, seconds=2.0,
    )  # fmt: skip


def test_json_is_strict_and_has_what_programs_need():
    fields = json.loads(json.dumps(encode_report().to_json(), allow_nan=False))
    assert fields["bytes"] == 500
    assert fields["ratio_source"] == 4
    assert all(set(item) >= REQUIRED_KEYS for item in fields["grids"])
    first, second = fields["grids"]
    assert first["ratio"] == 1000 / 128
    assert first["bits_per_active_voxel"] == 2
    assert first["rmse"] == 0.25
    assert first["sections"] == {"weights": 100, "corrections": 28}
    assert second["rmse"] is None  # JSON has no infinity


def test_a_grid_without_quality_has_the_same_keys():
    with_quality, without = (
        set(GridReport("a", "float", "unknown", quality=quality).to_json())
        for quality in (compare_grids(grid(), grid()), None)
    )
    assert with_quality == without
    assert without >= REQUIRED_KEYS


def test_comparison_report_carries_differences():
    first, second = VolumeFile((grid(), grid("only"))), VolumeFile((grid(value=2),))
    report = comparison_report(compare_files(first, second), bytes_first=10, bytes_second=5)
    fields = report.to_json()
    assert (fields["bytes"], fields["bytes_source"]) == (5, 10)
    assert [[item["kind"] for item in one["differences"]] for one in fields["grids"]] == [["values"], ["missing"]]


def test_tables_fit_into_100_columns_and_name_everything():
    big = replace(
        encode_report().grids[0], name="a_grid_with_a_very_long_name [bold]", active_voxels=165_909_193,
        effective_resolution=(32844, 24702, 9156), bytes_raw=950_200_000, bytes_vdb16_blosc=439_700_000,
        bytes=14_300_000, parameters=5_995_044, corrections=344_405,
    )  # fmt: skip
    report = replace(encode_report(), grids=(big, *encode_report().grids))
    out = io.StringIO()
    report.to_table(Console(file=out, width=160))
    text = out.getvalue()
    assert max(map(len, text.splitlines())) <= 100
    for needed in (
        "165,909,193",
        "32844x24702x9156",
        "[Hash,5,NN(4),NN(3)]",
        "14.3 MB",
        "identical",
        "(unnamed)",
        "weights",
    ):
        assert needed in text


def test_tables_of_a_comparison_list_the_differences():
    first, second = VolumeFile((grid(),)), VolumeFile((replace(grid(), transform=GridTransform.uniform(2.0)),))
    out = io.StringIO()
    comparison_report(compare_files(first, second), bytes_first=1, bytes_second=2).to_table(Console(file=out, width=80))
    assert "density, transform: UniformScaleMap" in out.getvalue()
    assert max(map(len, out.getvalue().splitlines())) <= 80


@pytest.mark.parametrize(
    ("bytes_", "text"),
    [
        (None, "-"), (0, "0 B"), (999, "999 B"), (1000, "1 kB"), (999_400, "999 kB"), (999_700, "1,000 kB"),
        (1_234_567, "1.23 MB"), (999_999_999, "1,000 MB"), (12_345_678_901_234, "12,346 GB"), (512.4, "512 B"),
    ],
)  # fmt: skip
def test_sizes_keep_three_digits(bytes_: float | None, text: str) -> None:
    assert size(bytes_) == text
