"""Samplers draw what they promise: active voxels with their values, leaf voxels with their state, listed points."""

import numpy as np

from fieldcodec.fit.samplers import ActiveVoxelSampler, BlendedSampler, LeafMaskSampler, PointSampler
from fieldcodec.testing.samples import dense


def test_active_voxels_with_their_values() -> None:
    grid = dense("vec3s", side=20)
    topology = grid.topology
    rows = [np.arange(topology.num_leaves), np.arange(0, topology.num_leaves, 3)]
    corners = np.array([[-20, -20, 100], [-30, 0, 90]])
    sampler = ActiveVoxelSampler(
        rows, corners, topology.leaf_origins, topology.leaf_active, grid.leaf_values, np.zeros(3), np.full(3, 2.0)
    )
    local, target = sampler.draw(np.random.default_rng(0), 5000)
    assert local.shape == (2, 5000, 3)
    assert target.shape == (2, 5000, 3)
    known = dict(zip(map(tuple, topology.active_voxels().tolist()), grid.active_values(), strict=True))
    allowed = [set(map(tuple, topology.leaf_origins[row].tolist())) for row in rows]
    for expert in range(2):
        ijk = (local[expert] + corners[expert]).astype(int)
        for point, value in zip(map(tuple, ijk.tolist()), target[expert], strict=True):
            assert np.allclose(known[point] / 2, value)
            assert tuple(np.array(point) & ~7) in allowed[expert]
    # every active voxel has the same chance: all of them turn up, none far too often
    seen, counts = np.unique((local[0] + corners[0]).astype(int), axis=0, return_counts=True)
    assert len(seen) > 0.5 * min(5000, topology.num_active_voxels)
    assert counts.max() < 12


def test_leaf_masks_have_the_share_of_active_voxels() -> None:
    grid = dense("float", side=20)
    topology = grid.topology
    sampler = LeafMaskSampler(
        [np.arange(topology.num_leaves)], np.zeros((1, 3)), topology.leaf_origins, topology.leaf_active
    )
    local, target = sampler.draw(np.random.default_rng(0), 20_000)
    active = set(map(tuple, topology.active_voxels().tolist()))
    assert [tuple(point) in active for point in local[0, :500].astype(int).tolist()] == (
        target[0, :500, 0] > 0
    ).tolist()
    assert abs(target.mean() - topology.leaf_active_bits.mean()) < 0.02


def test_points_keep_their_targets() -> None:
    points = [np.arange(30).reshape(10, 3), np.arange(6).reshape(2, 3)]
    targets = [np.arange(10.0)[:, None], np.array([[5.0], [7.0]])]
    local, target = PointSampler(points, targets).draw(np.random.default_rng(0), 50)
    assert (local[0, :, 0] == target[0, :, 0] * 3).all()
    assert set(target[1, :, 0]) == {5.0, 7.0}


def test_blended_samples_come_in_their_share_and_spread_evenly() -> None:
    ones, twos = (PointSampler([np.full((4, 3), n)] * 2, [np.full((4, 1), float(n))] * 2) for n in (1, 2))
    local, target = BlendedSampler(ones, twos, 0.3).draw(np.random.default_rng(0), 1000)
    assert local.shape == (2, 1000, 3)
    assert (local == target).all()
    assert (target == 2).sum(axis=1).tolist() == [[300], [300]]
    parts = (target[0, :, 0] == 2).reshape(10, 100).sum(axis=1)
    assert parts.min() >= 29
    assert parts.max() <= 31
