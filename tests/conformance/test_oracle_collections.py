"""The codec against the oracle: objects of collections, octrees and latents bit for bit, fields within float32."""

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch

from fieldcodec.collection.compressed import CompressedCollection
from fieldcodec.container.container import Container, Section
from fieldcodec.container.format import SectionId
from fieldcodec.errors import FormatError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.frozen_recursive import LATENT_UNIT, FrozenRecursive
from fieldcodec.nets.interpolation import Stencil
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.testing.collections import TINY, detailed_collection, random_collection
from fieldcodec.testing.oracle.collection import Object, decode_collection

SPECS: dict[str, RecursiveSpec] = {
    "colours": TINY,
    "sum": replace(TINY, fusion="sum", colour="none"),
    "radiance": replace(TINY, colour="radiance", lods=4),
    "shapes and radiance": replace(TINY, colour="none+radiance"),
    "all kinds": replace(TINY, colour="rgb+radiance", fusion="sum"),
    "deep": replace(TINY, base_layers=3, layers=1, base_width=6, lods=2),
    "one number": replace(TINY, latent=1, width=1, base_width=1, lods=5),
}


def _assert_same(mine: CompressedCollection, number: int, other: Object) -> None:
    assert mine.names[number] == other.name
    assert (mine.entry(number).placement.centre, mine.entry(number).placement.scale) == (other.centre, other.scale)
    unfolded = mine.unfold(number)
    for mask, bits in zip(unfolded.octree.child_masks, other.masks, strict=True):
        assert np.array_equal(mask, np.array(bits, bool).reshape(-1, 8))
    for level, cells in enumerate(other.cells(), 1):
        assert np.array_equal(unfolded.octree.cells(level)[1], np.array(cells, int).reshape(-1, 3))
    for values, integers in zip(unfolded.latents, other.latents, strict=True):
        expected = np.array(integers, np.int64).reshape(values.shape).astype(np.float32) / np.float32(LATENT_UNIT)
        assert np.array_equal(values.numpy(), expected)


@pytest.mark.parametrize("name", SPECS)
@pytest.mark.parametrize("bits", [4, 8])
def test_octrees_and_latents_are_the_same(name: str, bits: int) -> None:
    made = random_collection(SPECS[name], seed=1, weight_bits=bits)
    read = decode_collection(made.to_bytes())
    assert read.spec == SPECS[name].to_json()
    for number in range(3):
        _assert_same(made, number, read.objects[number])
    assert sum(len(each.latents[-1]) for each in read.objects) > 10


def test_corrected_octrees_are_the_same() -> None:
    rng = np.random.default_rng(7)
    octrees: list[Octree | None] = [Octree.of_cells(rng.integers(0, 8, (n, 3)), 3) for n in (1, 20, 200)]
    made = random_collection(octrees=octrees)
    read = decode_collection(made.to_bytes())
    for number in range(3):
        _assert_same(made, number, read.objects[number])


@pytest.mark.parametrize("level", [1, 2, 3])
@pytest.mark.parametrize("step", [1, 5000, 3_355_443])
def test_details_are_the_same(level: int, step: int) -> None:
    made = detailed_collection(level=level, step=step)
    read = decode_collection(made.to_bytes())
    for number in range(3):
        _assert_same(made, number, read.objects[number])
    largest = max(abs(x) for each in read.objects for cells in each.latents for cell in cells for x in cell)
    assert (largest == 1 << 27) == (step == 3_355_443)
    plain = made.removed(["cup", "椅子"])
    assert made.entry(1) == plain.entry(0)
    assert "detail_level" not in str(plain.listing.to_json())


@pytest.mark.parametrize(("place", "value"), [(0, 0), (0, 1), (0, 4), (1, 2), (0, "2"), (2, True), (2, -1)])
def test_forged_levels_of_details_are_refused(place: int, value: object) -> None:
    opened = Container.from_bytes(detailed_collection().to_bytes())
    meta = opened.meta()
    meta["items"][place]["detail_level"] = value
    sections = [Section(key.id, opened.read(*key)) for key in opened if key.id != SectionId.META]
    forged = Container([Section.meta(meta), *sections]).to_bytes()
    with pytest.raises(FormatError):
        decode_collection(forged)
    with pytest.raises(FormatError):
        [CompressedCollection.from_bytes(forged).unfold(number) for number in range(3)]


def test_weights_at_their_limits_are_computed_alike() -> None:
    """Where multipliers, shifts and offsets take their extreme forms."""
    rng = np.random.default_rng(3)
    frozen = FrozenRecursive.of(_module(), 8)
    for trial in range(12):
        steps = np.ldexp(rng.uniform(1, 2, len(frozen.steps)), rng.integers(-60, 10, len(frozen.steps)))
        scale = [1, 30, 2047][trial % 3]
        tensors = tuple(rng.integers(-scale, scale + 1, tensor.shape).astype(np.int32) for tensor in frozen.tensors)
        networks = FrozenRecursive(frozen.spec, tensors, steps.astype(np.float32))
        latents = rng.integers(-8, 9, (2, frozen.spec.latent)).astype(np.int32)
        places = random_collection().listing.items[0].placement
        made = CompressedCollection.of(networks, latents, 1 << int(rng.integers(0, 25)), ["a", "b"], [places] * 2)
        read = decode_collection(made.to_bytes())
        for number in range(2):
            _assert_same(made, number, read.objects[number])


def _module() -> Any:
    return random_collection(replace(TINY, lods=2)).network()


@pytest.mark.parametrize("name", SPECS)
def test_fields_are_the_same_within_float32(name: str) -> None:
    spec, rng = SPECS[name], np.random.default_rng(0)
    kinds = (*spec.kinds, *spec.kinds[:1] * 2)[:3]
    made = random_collection(spec, seed=1, kinds=kinds)
    read = decode_collection(made.to_bytes())
    points = rng.uniform(-1, 1, (60, 3)).astype(np.float32)
    directions = rng.normal(size=(60, 3)).astype(np.float32)
    network = made.network()
    for number, kind in enumerate(kinds):
        assert read.objects[number].kind == kind == made.entry(number).kind
        unfolded = made.unfold(number)
        with torch.inference_mode():
            fused = network.fused(unfolded.latents, Stencil.of(unfolded.octree, np.zeros(60, int), points))
            if kind == "radiance":
                said = [network.opacity(fused).clamp(min=0)[:, None], network.radiance(fused, torch.tensor(directions))]
                density = network.density(fused).numpy()
                assert density == pytest.approx(read.densities(number, points), rel=1e-3, abs=1e-3)
            else:
                said = [network.distance(fused)[:, None], *([network.colour(fused)] if kind == "coloured" else [])]
        expected = read.values(number, points, directions)
        assert np.abs(torch.cat(said, dim=1).numpy() - expected).max() < 1e-5
        assert np.ptp(expected[:, 0]) > 1e-3


def test_the_oracle_notices_damage() -> None:
    data = random_collection().to_bytes()
    for position in range(0, len(data), 7):
        damaged = bytearray(data)
        damaged[position] ^= 0x10
        with pytest.raises(FormatError):
            decode_collection(bytes(damaged))
