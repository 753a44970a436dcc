"""Lattices fitted in torch: the maps and the fits of the compiled kernels, on torch's CPU device and on a GPU."""

import gc
import weakref
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

import fieldcodec as fc
from fieldcodec.fit.torch_equations import TorchEquations, TorchOperator, TorchSolver, equations_on
from fieldcodec.grid.procedural import sphere_level_set
from fieldcodec.grid.sparse_grid import SparseGrid
from fieldcodec.lattice import basis
from fieldcodec.lattice.fit import IMPORTANCE_ONE, FitOptions, LatticeFit
from fieldcodec.lattice.host_equations import HostEquations
from fieldcodec.lattice.operator import Lattice
from fieldcodec.metrics.values import value_errors
from fieldcodec.testing import samples
from fieldcodec.volume import lattice_encode
from fieldcodec.volume.compressed import CompressedVolume
from fieldcodec.volume.quality import Quality

EVERY = [(stride, degree) for stride in basis.STRIDES for degree in basis.DEGREES]
SCALE = 1 / IMPORTANCE_ONE


@pytest.fixture(autouse=True, scope="module")
def one_thread() -> Iterator[None]:
    """Problems this small only lose by threads that wait for each other."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module", params=["cpu", pytest.param("cuda", marks=pytest.mark.needs_gpu)])
def device(request: pytest.FixtureRequest) -> torch.device:
    return torch.device(request.param)


@pytest.fixture(scope="module", params=EVERY, ids=lambda each: f"{each[0]}-{each[1]}")
def pair(request: pytest.FixtureRequest, device: torch.device) -> tuple[Lattice, TorchOperator]:
    """A lattice, and the same on the device in parts of two leaves."""
    lattice = Lattice.over(some_leaves(), *request.param)
    return lattice, TorchSolver(device, part_leaves=2).operator(lattice)


def some_leaves() -> np.ndarray:
    """[8, 3] int32: neighbours, a corner contact, leaves alone; origins of many phases, some of them alike."""
    cells = [[0, 0, 0], [0, 0, 1], [-1, -1, -1], [-2, -1, -1], [5, -7, 3], [1, 1, 1], [6, 6, 6], [12, 0, 6]]
    return np.array(cells, np.int32) * 8


def cube(side: int = 4) -> np.ndarray:
    """[side^3, 3] int32: neighbouring leaves around zero."""
    cells = np.stack(np.meshgrid(*[np.arange(side) - 1] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    return (cells * 8).astype(np.int32)


def wavy(origins: np.ndarray) -> np.ndarray:
    """[N, 512] float32: waves of size about 1 and a little noise."""
    offsets = np.stack(np.meshgrid(*[np.arange(8)] * 3, indexing="ij"), axis=-1).reshape(-1, 3)
    x, y, z = np.moveaxis((origins[:, None] + offsets).astype(np.float64), -1, 0)
    noise = np.random.default_rng(0).normal(scale=0.02, size=x.shape)
    return (np.sin(x / 5) * np.cos(y / 6 + 0.4) + 0.5 * np.sin(z / 4 + x / 9) + noise).astype(np.float32)


def importance_of(origins: np.ndarray, lowest: int = 1) -> np.ndarray:
    choices = np.array([lowest, 8, 16], np.uint8)
    return np.random.default_rng(1).choice(choices, (len(origins), 512))


def random_nodes(lattice: Lattice) -> np.ndarray:
    return np.random.default_rng(2).normal(size=len(lattice)).astype(np.float32)


def on_parts(operator: TorchOperator, values: np.ndarray) -> list[Tensor]:
    return [operator.upload(part, values, values.dtype.type) for part in operator.parts]


def from_parts(operator: TorchOperator, parts: list[Tensor]) -> np.ndarray:
    """[N, 512], in the order of the leaves."""
    values = np.full((len(some_leaves()), 512), np.nan, np.float32)
    for part, of_part in zip(operator.parts, parts, strict=True):
        values[part.rows] = of_part.T.cpu().numpy()
    return values


def to_device(operator: TorchOperator, values: np.ndarray) -> Tensor:
    return torch.from_numpy(values).to(operator.device)


def test_values_are_those_of_the_compiled_kernels(pair: tuple[Lattice, TorchOperator]) -> None:
    lattice, operator = pair
    coefficients = random_nodes(lattice)
    found = from_parts(operator, operator.evaluate(to_device(operator, coefficients)))
    assert np.allclose(found, lattice.evaluate(coefficients), atol=3e-6)


def test_adjoint_is_the_transpose(pair: tuple[Lattice, TorchOperator]) -> None:
    lattice, operator = pair
    coefficients, voxels = random_nodes(lattice), wavy(some_leaves())
    transposed = operator.adjoint(on_parts(operator, voxels)).cpu().numpy()
    assert np.allclose(transposed, lattice.adjoint(voxels), rtol=1e-5, atol=2e-5)
    values = from_parts(operator, operator.evaluate(to_device(operator, coefficients)))
    one = np.dot(values.ravel().astype(float), voxels.ravel())
    assert abs(one - np.dot(coefficients.astype(float), transposed)) < 1e-6 * np.abs(voxels).sum()


def test_normal_and_its_diagonal_are_those_of_the_compiled_kernels(pair: tuple[Lattice, TorchOperator]) -> None:
    lattice, operator = pair
    coefficients, importance = random_nodes(lattice), importance_of(some_leaves(), lowest=0)
    parts = on_parts(operator, importance)
    found = operator.normal(to_device(operator, coefficients), parts).cpu().numpy()
    assert np.allclose(found, lattice.normal(coefficients, importance, 1.0), rtol=1e-5, atol=1e-3)
    diagonal = operator.diagonal(parts).cpu().numpy()
    assert np.allclose(diagonal, lattice.diagonal(importance.astype(np.float32)), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("is_reweighted", [False, True])
def test_equations_are_those_of_the_compiled_kernels(pair: tuple[Lattice, TorchOperator], is_reweighted: bool) -> None:
    lattice, operator = pair
    target, importance = wavy(some_leaves()), importance_of(some_leaves())
    host = HostEquations(lattice, target, importance, SCALE, 0.3)
    there = TorchEquations(operator, target, importance, SCALE, 0.3)
    nodes = random_nodes(lattice)
    vector = there.vector(nodes)
    if is_reweighted:
        host.reweight(nodes, 0.2)
        there.reweight(vector, 0.2)
    for found, wanted in (
        (there.right, host.right),
        (there.apply(vector), host.apply(nodes)),
        (there.diagonal(), host.diagonal()),
        (there.local_means(target), host.local_means(target)),
        (there.rounded(vector, 0.1, vector > 0), host.rounded(nodes, 0.1, nodes > 0)),
    ):
        assert found.dtype == torch.float32
        assert np.allclose(there.array(found), wanted, rtol=1e-5, atol=1e-4)
    assert float(there.dot(vector, vector)) == pytest.approx(float(np.dot(nodes.astype(float), nodes)), rel=1e-6)


@pytest.mark.parametrize(("stride", "degree"), EVERY)
def test_fits_are_those_of_the_compiled_kernels(device: torch.device, stride: int, degree: int) -> None:
    origins, step = cube(), 0.05
    lattice, target = Lattice.over(origins, stride, degree), wavy(origins)
    problem = lattice, target, importance_of(origins), FitOptions(smoothness=0.2 * (stride / 8) ** 3, bend=0.2)
    wide = (lattice, target.astype(np.float64), *problem[2:])  # what a coarser level leaves may be of any type
    fits = LatticeFit(*problem), LatticeFit(*wide, TorchSolver(device, part_leaves=9))
    values = [lattice.evaluate(fit.coefficients) for fit in fits]
    assert np.abs(values[0] - values[1]).max() < 5e-3
    integers = [fit.quantised(step) for fit in fits]
    assert integers[1].dtype == np.int32
    errors = [np.sqrt(np.mean((lattice.evaluate(each * step) - target) ** 2)) for each in integers]
    assert errors[1] == pytest.approx(errors[0], rel=0.01)
    if stride <= 4:  # of larger ones, nodes at the rim of so few leaves hardly tell, and each solver stops elsewhere
        assert np.abs(fits[0].coefficients - fits[1].coefficients).max() < 0.02 * step
        assert np.mean(integers[0] == integers[1]) > 0.99


def test_the_size_of_parts_makes_no_difference(device: torch.device) -> None:
    origins = some_leaves()
    lattice = Lattice.over(origins, 6, 3)
    results = []
    for size in (1, 3, None):
        equations = TorchSolver(device, size)(lattice, wavy(origins), importance_of(origins), SCALE, 0.1)
        results.append(equations.array(equations.apply(equations.right)))
    for other in results[1:]:
        assert np.allclose(other, results[0], rtol=1e-5, atol=1e-3)


def test_a_solve_ends_at_its_tolerance(device: torch.device, monkeypatch: pytest.MonkeyPatch) -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, 8, 3)
    equations = TorchSolver(device)(lattice, wavy(origins), importance_of(origins), SCALE, 0.1)
    calls: list[int] = []
    apply = equations.apply
    monkeypatch.setattr(equations, "apply", lambda vector: calls.append(1) or apply(vector))
    start = equations.local_means(wavy(origins))
    solved = equations.solve(start, 1000, 1e-4)
    assert len(calls) < 200
    again = equations.solve(solved, 200, 0.0)  # steps beyond the last bit do no harm
    for found in (solved, again):
        assert float((equations.right - apply(found)).norm() / equations.right.norm()) < 1e-3


def test_nothing_of_importance_is_no_problem(device: torch.device) -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, 4, 3)
    for smoothness in (0.0, 0.1):
        options = FitOptions(smoothness=smoothness)
        fit = LatticeFit(lattice, wavy(origins), np.zeros((8, 512), np.uint8), options, TorchSolver(device))
        assert np.isfinite(fit.coefficients).all()
        assert fit.quantised(0.1).shape == (len(lattice),)


def test_no_leaves_are_no_problem(device: torch.device) -> None:
    lattice = Lattice.over(np.zeros((0, 3), np.int32), 4, 3)
    nothing = np.zeros((0, 512))
    fit = LatticeFit(
        lattice, nothing.astype(np.float32), nothing.astype(np.uint8), FitOptions(bend=1.0), TorchSolver(device)
    )
    assert fit.quantised(0.1).shape == (0,)


def test_a_lattice_leaves_the_device_with_its_last_user(device: torch.device) -> None:
    solver = TorchSolver(device)
    lattice = Lattice.over(some_leaves(), 4, 3)
    operator = weakref.ref(solver.operator(lattice))
    assert solver.operator(lattice) is operator()
    del lattice
    gc.collect()
    assert operator() is None


def test_products_are_of_full_precision(device: torch.device) -> None:
    lattice = Lattice.over(cube(), 4, 3)
    operator = TorchSolver(device).operator(lattice)
    nodes = random_nodes(lattice)
    before = torch.get_float32_matmul_precision()
    torch.set_float32_matmul_precision("medium")
    try:
        found = operator.evaluate(to_device(operator, nodes))
        assert torch.get_float32_matmul_precision() == "medium"
    finally:
        torch.set_float32_matmul_precision(before)
    for part, values in zip(operator.parts, found, strict=True):
        assert np.allclose(values.T.cpu().numpy(), lattice.evaluate(nodes)[part.rows], atol=3e-6)


def test_devices_choose_how_they_solve() -> None:
    assert equations_on(torch.device("cpu")) is HostEquations
    assert isinstance(equations_on(torch.device("cuda")), TorchSolver)  # touches no GPU yet


def test_steps_read_nothing_back() -> None:
    origins = cube(2)
    lattice = Lattice.over(origins, 3, 3)
    nowhere = torch.device("meta")  # computes shapes and types alone, and fails where a number is asked for
    equations = TorchSolver(nowhere)(lattice, wavy(origins), importance_of(origins), SCALE, 0.1)
    values = equations.solve(equations.local_means(wavy(origins)), equations.patience, 1e-4)
    equations.reweight(values, 0.2)
    free = equations.vector(np.arange(len(lattice)) % 8) != 3
    rounded = equations.solve(equations.rounded(values, 0.1, ~free), 2, 0.0, free)
    assert (rounded.device, rounded.dtype, rounded.shape) == (nowhere, torch.float32, (len(lattice),))
    with pytest.raises(RuntimeError, match="meta"):
        equations.solve(values, equations.patience + 1, 1e-4)


@pytest.mark.needs_gpu
def test_steps_do_not_wait_for_the_gpu() -> None:
    origins = cube()
    lattice = Lattice.over(origins, 4, 3)
    equations = TorchSolver(torch.device("cuda"))(lattice, wavy(origins), importance_of(origins), SCALE, 0.1)
    values = equations.local_means(wavy(origins))
    torch.cuda.set_sync_debug_mode("error")
    try:
        equations.solve(values, equations.patience, 1e-4)
    finally:
        torch.cuda.set_sync_debug_mode("default")


def encoded(grid: SparseGrid, device: str, **quality: Any) -> bytes:
    return fc.encode_volume(grid, fc.VolumeSettings(quality=Quality(**quality)), device=device).to_bytes()


def small_grid(kind: str) -> tuple[SparseGrid, dict[str, float]]:
    """With the quality to ask for."""
    if kind == "level set":
        return sphere_level_set(12.0, centre=(0.3, -0.2, 0.15)), {"mcd": 0.05}
    return samples.dense("float", side=20), {"psnr": 40}


@pytest.mark.parametrize("kind", ["level set", "fog"])
def test_files_are_as_small_and_as_good(device: torch.device, kind: str, monkeypatch: pytest.MonkeyPatch) -> None:
    grid, quality = small_grid(kind)
    plain = encoded(grid, "cpu", **quality)
    solver = TorchSolver(device)
    asked: list[torch.device] = []
    monkeypatch.setattr(lattice_encode, "equations_on", lambda device: asked.append(device) or solver)
    data = encoded(grid, device.type, **quality)
    assert set(asked) == {device}
    assert abs(len(data) - len(plain)) <= max(32, 0.01 * len(plain))  # floats in the description differ in length
    opened = CompressedVolume.from_bytes(data)
    assert opened.grids[0].meta["values"]["method"] == "lattice"
    decoded, other = (CompressedVolume.from_bytes(each).to_grids(device="cpu")[0] for each in (data, plain))
    assert decoded.topology.equals(grid.topology)
    mine, theirs = value_errors(grid, decoded), value_errors(grid, other)
    assert mine.rmse == pytest.approx(theirs.rmse, rel=0.02)
