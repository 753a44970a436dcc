"""Dense arrays: which voxels become active, exact values, transforms, and each way a file can be wrong."""

import gzip
import os
from pathlib import Path

import numpy as np
import pytest

from fieldcodec.errors import InputError, InvalidValuesError, UnsupportedGridError, UsageError
from fieldcodec.grid.build import dense_of_grid
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.io import dense
from fieldcodec.io.dense import grid_of_array, read_dense


def whole(grid: SparseGrid, shape: tuple[int, ...]) -> tuple[np.ndarray, np.ndarray]:
    return dense_of_grid(grid, np.zeros(3, int), np.array(shape[:3]))


@pytest.fixture
def volume() -> np.ndarray:
    rng = np.random.default_rng(0)
    return np.where(rng.random((19, 10, 13)) < 0.3, rng.integers(1, 256, (19, 10, 13)), 0).astype(np.uint8)


def test_npy_gives_a_fog_volume(tmp_path: Path, volume: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", volume)
    grid = read_dense(tmp_path / "a.npy", threshold=100, background=7.0)
    values, active = whole(grid, volume.shape)
    np.testing.assert_array_equal(active, volume > 100)
    np.testing.assert_array_equal(values[..., 0], np.where(volume > 100, volume, 7))
    assert (grid.name, grid.grid_class, grid.value_type.name) == ("density", "fog volume", "float")
    assert grid.background == 7.0
    np.testing.assert_array_equal(grid.transform.voxel_size, 1.0)


@pytest.mark.parametrize("order", ["C", "F"])
def test_slabs_join_to_the_same_grid(monkeypatch: pytest.MonkeyPatch, volume: np.ndarray, order: str) -> None:
    expected = grid_of_array(volume)
    monkeypatch.setattr(dense, "_SLAB_VOXELS", 1)
    grid = grid_of_array(np.asarray(volume, order=order))  # type: ignore[call-overload]
    assert len(list(dense._slabs(np.asarray(volume, order=order)))) > 1  # type: ignore[call-overload]
    assert grid.topology.equals(expected.topology)
    np.testing.assert_array_equal(grid.leaf_values, expected.leaf_values)


def test_raw_runs_fastest_in_x(tmp_path: Path, volume: np.ndarray) -> None:
    (tmp_path / "a.raw").write_bytes(volume.tobytes(order="F"))
    with gzip.open(tmp_path / "scan_19x10x13_uint8.raw.gz", "wb") as stream:
        stream.write(volume.tobytes(order="F"))
    for grid in (
        read_dense(tmp_path / "a.raw", shape=(19, 10, 13), dtype="uint8"),
        read_dense(tmp_path / "scan_19x10x13_uint8.raw.gz"),
    ):
        np.testing.assert_array_equal(whole(grid, volume.shape)[0][..., 0], volume)


def test_raw_of_the_other_byte_order(tmp_path: Path) -> None:
    data = (np.arange(1, 28).reshape(3, 3, 3) * 300).astype(">i2")
    (tmp_path / "a.raw").write_bytes(data.tobytes(order="F"))
    grid = read_dense(tmp_path / "a.raw", shape=(3, 3, 3), dtype=">i2", voxel_size=0.25)
    np.testing.assert_array_equal(whole(grid, (3, 3, 3))[0][..., 0], data)
    np.testing.assert_array_equal(grid.transform.voxel_size, 0.25)


def test_npz_of_one_array(tmp_path: Path, volume: np.ndarray) -> None:
    np.savez_compressed(tmp_path / "one.npz", volume)
    np.savez(tmp_path / "two.npz", ct=volume, mask=volume)
    assert read_dense(tmp_path / "one.npz", name="ct").name == "ct"
    with pytest.raises(InputError, match="holds 2: ct, mask"):
        read_dense(tmp_path / "two.npz")


def test_vectors_are_active_by_length(tmp_path: Path) -> None:
    field = np.zeros((4, 5, 6, 3), np.float32)
    field[1, 2, 3] = (-1.0, 0.0, 0.5)
    np.save(tmp_path / "v.npy", field)
    grid = read_dense(tmp_path / "v.npy")
    assert (grid.value_type.name, grid.name, grid.grid_class) == ("vec3s", "vector", "unknown")
    np.testing.assert_array_equal(grid.topology.active_voxels(), [[1, 2, 3]])
    np.testing.assert_array_equal(grid.active_values(), [[-1.0, 0.0, 0.5]])


def test_nan_is_active_so_that_it_is_found_later() -> None:
    field = np.zeros((8, 8, 8))
    field[1, 1, 1], field[2, 2, 2] = np.nan, 1.0
    grid = grid_of_array(field, normalize=True)
    assert grid.topology.num_active_voxels == 2
    assert np.isnan(grid.active_values()).sum() == 1
    assert np.nanmax(grid.active_values()) == 1.0


@pytest.mark.parametrize(
    ("dtype", "largest", "kind"),
    [("int16", 32767, "float"), ("int32", 2**24, "float"), ("int32", 2**24 + 1, "double"), ("uint64", 2**53, "double")],
)
def test_integers_stay_exact(dtype: str, largest: int, kind: str) -> None:
    grid = grid_of_array(np.full((2, 2, 2), largest, dtype))
    assert grid.value_type.name == kind
    assert int(grid.active_values()[0, 0]) == largest


def test_integers_that_no_float_holds_are_refused_unless_rounding_is_asked_for() -> None:
    field = np.full((2, 2, 2), 2**53 + 1, np.int64)
    with pytest.raises(InvalidValuesError, match="9007199254740993"):
        grid_of_array(field)
    assert grid_of_array(field, value_type="float").active_values()[0, 0] == 2.0**53


def test_booleans_and_halves(volume: np.ndarray) -> None:
    grid = grid_of_array(volume > 0)
    assert grid.topology.num_active_voxels == (volume > 0).sum()
    assert set(grid.active_values()[:, 0]) == {1.0}
    assert grid_of_array(np.full((1, 1, 1), 0.1, np.float16)).active_values()[0, 0] == np.float16(0.1)


def test_normalize_maps_active_values_to_one_at_most(volume: np.ndarray) -> None:
    values = grid_of_array(volume, normalize=True).active_values()
    np.testing.assert_allclose(values.max(), 1.0)
    np.testing.assert_allclose(values[:, 0].min(), volume[volume > 0].min() / volume.max())
    signed = grid_of_array(volume.astype(float) - 100, threshold=-50, normalize=True).active_values()
    assert (signed.min(), signed.max()) == (0.0, 1.0)


def test_nothing_above_the_threshold_is_an_empty_grid(volume: np.ndarray) -> None:
    assert grid_of_array(volume, threshold=255).topology.is_empty
    assert grid_of_array(volume, threshold=255, normalize=True).topology.is_empty
    assert grid_of_array(volume, threshold=-np.inf).topology.num_active_voxels == volume.size


def test_nifti_takes_scaling_and_the_affine_of_the_file(tmp_path: Path, volume: np.ndarray) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    affine = np.array([[0, -2, 0, 10], [3, 0, 0, 20], [0, 0, 0.5, 30], [0, 0, 0, 1.0]])
    image = nibabel.Nifti1Image(volume, affine)
    image.header.set_slope_inter(0.5, 1.0)
    for name in ("a.nii", "a.nii.gz"):
        nibabel.save(image, tmp_path / name)
        stored = np.asarray(nibabel.load(tmp_path / name).dataobj)
        grid = read_dense(tmp_path / name, threshold=1.0)
        values, active = whole(grid, volume.shape)
        np.testing.assert_array_equal(active, stored > 1.0)
        np.testing.assert_array_equal(values[active][:, 0], stored[active].astype(np.float32))
        assert grid.transform.map_type == "AffineMap"
        np.testing.assert_allclose(grid.transform.to_world(np.array([[1, 2, 4]])), [[6.0, 23.0, 32.0]])
    assert read_dense(tmp_path / "a.nii", voxel_size=2.0).transform.map_type == "UniformScaleMap"


def test_nifti_with_one_time_step_or_vectors(tmp_path: Path) -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    affine = np.diag([2.0, 2.0, 3.0, 1.0])
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6, 1), np.float32), affine), tmp_path / "t.nii")
    nibabel.save(nibabel.Nifti1Image(np.ones((4, 5, 6, 1, 3), np.float32), affine), tmp_path / "v.nii")
    assert read_dense(tmp_path / "t.nii").value_type.name == "float"
    assert read_dense(tmp_path / "v.nii").value_type.name == "vec3s"
    assert read_dense(tmp_path / "v.nii").transform.map_type == "ScaleMap"


@pytest.mark.parametrize("name", ["a.npy", "a.npz", "a.nii", "a.nii.gz", "a_2x2x2_uint8.raw", "a_2x2x2_uint8.raw.gz"])
def test_missing_and_damaged_files_are_named(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=name):
        read_dense(tmp_path / name)
    (tmp_path / name).write_bytes(b"this is no array")
    with pytest.raises(InputError, match=name):
        read_dense(tmp_path / name)


def test_cut_files_are_named(tmp_path: Path, volume: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", volume)
    (tmp_path / "a.npy").write_bytes((tmp_path / "a.npy").read_bytes()[:-100])
    with pytest.raises(InputError, match=r"a\.npy"):
        read_dense(tmp_path / "a.npy")
    packed = gzip.compress(volume.tobytes(order="F"))
    (tmp_path / "a.raw.gz").write_bytes(packed[: len(packed) // 2])
    with pytest.raises(InputError, match=r"a\.raw\.gz"):
        read_dense(tmp_path / "a.raw.gz", shape=(19, 10, 13), dtype="uint8")


@pytest.mark.parametrize("suffix", [".raw", ".raw.gz"])
@pytest.mark.parametrize(("extra", "found"), [(-1, "26"), (1, "28|more")])
def test_raw_of_the_wrong_size(tmp_path: Path, suffix: str, extra: int, found: str) -> None:
    data = bytes(27 + extra)
    (tmp_path / f"a{suffix}").write_bytes(gzip.compress(data) if suffix.endswith("gz") else data)
    with pytest.raises(InputError, match=f"27 bytes for 3 x 3 x 3 of uint8, but holds ({found})"):
        read_dense(tmp_path / f"a{suffix}", shape=(3, 3, 3), dtype="uint8")


def test_settings_are_checked(tmp_path: Path, volume: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", volume)
    (tmp_path / "a.raw").write_bytes(b"1")
    with pytest.raises(UsageError, match="give shape"):
        read_dense(tmp_path / "a.raw", dtype="uint8")
    with pytest.raises(UsageError, match="NumPy does not know"):
        read_dense(tmp_path / "a.raw", shape=(1, 1, 1), dtype="uint7")
    with pytest.raises(UsageError, match="three positive"):
        read_dense(tmp_path / "a.raw", shape=(1, 0, 1), dtype="uint8")
    with pytest.raises(UsageError, match=r"\.raw files only"):
        read_dense(tmp_path / "a.npy", dtype="uint8")
    with pytest.raises(UsageError, match="voxel_size is 0"):
        read_dense(tmp_path / "a.npy", voxel_size=0)
    with pytest.raises(UsageError, match="threshold is NaN"):
        read_dense(tmp_path / "a.npy", threshold=float("nan"))
    with pytest.raises(UsageError, match="value_type is 'int32'"):
        read_dense(tmp_path / "a.npy", value_type="int32")
    with pytest.raises(InputError, match=r"allowed are \.npy"):
        read_dense(tmp_path / "a.tif")


@pytest.mark.parametrize(
    "array",
    [np.zeros((3, 3)), np.zeros((3, 3, 3, 2)), np.zeros((0, 3, 3)), np.zeros((2, 2, 2), complex), np.zeros((2,) * 5)],
)
def test_arrays_of_other_shapes_and_types_are_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(UnsupportedGridError, match=r"a\.npy"):
        read_dense(tmp_path / "a.npy")


def test_pickled_arrays_are_not_opened(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", np.array([{}, 1], object), allow_pickle=True)
    with pytest.raises(InputError, match=r"a\.npy"):
        read_dense(tmp_path / "a.npy")


@pytest.mark.skipif("FIELDCODEC_DATA" not in os.environ, reason="FIELDCODEC_DATA does not name the folder of real data")
def test_a_real_ct_scan() -> None:
    nibabel = pytest.importorskip("nibabel", reason="nibabel is not installed")
    path = Path(os.environ["FIELDCODEC_DATA"]) / "volumes" / "iguana.nii.gz"
    if not path.exists():
        pytest.skip("volumes/iguana.nii.gz is not there")
    array = np.asanyarray(nibabel.load(path).dataobj)
    grid = read_dense(path)
    assert grid.topology.num_active_voxels == (array > 0).sum()
    np.testing.assert_array_equal(grid.active_values()[:, 0], array[tuple(grid.topology.active_voxels().T)])
    np.testing.assert_allclose(grid.transform.voxel_size, 0.1018, atol=1e-6)
