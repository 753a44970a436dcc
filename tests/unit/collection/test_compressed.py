"""Files of collections: bytes and back, objects added and removed, everything lazy and exact."""

import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from fieldcodec.collection import compressed
from fieldcodec.collection.asset import Placement
from fieldcodec.collection.compressed import CompressedCollection, open_collection
from fieldcodec.collection.decode import tree_hash
from fieldcodec.collection.listing import describe_collection
from fieldcodec.collection.radiance_item import RadianceItem
from fieldcodec.container.container import Container, open_container
from fieldcodec.container.files import is_file_name
from fieldcodec.errors import FieldcodecError, FormatError, UsageError
from fieldcodec.grid.octree import Octree
from fieldcodec.nets.frozen_recursive import LATENT_UNIT, frozen_latents
from fieldcodec.nets.recursive import new_latents
from fieldcodec.nets.recursive_spec import RecursiveSpec
from fieldcodec.radiance.pictures import look_around
from fieldcodec.render.camera import turntable
from fieldcodec.testing.collections import TINY, random_collection

NAMES = ("cup", "Stuhl äß", "椅子")


@pytest.fixture(scope="module")
def made() -> CompressedCollection:
    return random_collection(
        names=NAMES, settings={"lods": 3}, metadata={"source": "tests"}, source_bytes=[10, 0, 1 << 40]
    )


def _same(left: Octree, right: Octree) -> bool:
    return all(np.array_equal(*pair) for pair in zip(left.child_masks, right.child_masks, strict=True))


def test_everything_comes_back(made: CompressedCollection) -> None:
    data = made.to_bytes()
    back = CompressedCollection.from_bytes(data)
    assert back.to_bytes() == data
    assert back.listing == made.listing
    assert (back.names, len(back), back.spec, back.has_colours) == (NAMES, 3, TINY, True)
    assert [item.source_bytes for item in back.listing.items] == [10, 0, 1 << 40]
    assert back.listing.settings == {"lods": 3}
    assert back.listing.metadata == {"source": "tests"}
    assert back.entry("Stuhl äß").placement == Placement((0.5, -1.25, 1e-3), 0.5)
    for name in NAMES:
        mine, theirs = made.unfold(name), back.unfold(name)
        assert _same(mine.octree, theirs.octree)
        assert all(torch.equal(*pair) for pair in zip(mine.latents, theirs.latents, strict=True))
        assert back.entry(name).cells == theirs.octree.num_cells[1:]
    networks = zip(made.networks.tensors, back.networks.tensors, strict=True)
    assert all(np.array_equal(*pair) for pair in networks)


def test_the_bytes_of_a_tiny_file_are_fixed() -> None:
    """Equal content gives equal bytes, on every machine: this one's never change."""
    spec = replace(TINY, latent=1, base_width=1, width=1, layers=1, lods=1, colour="none")
    tensors = tuple(np.full(shape, 3, np.int32) for shape in compressed.tensor_shapes(spec))
    networks = compressed.FrozenRecursive(spec, tensors, np.full(len(tensors), 0.25, np.float32))
    latents, true = np.array([[5], [-6]], np.int32), Octree.of_cells(np.array([[1, 0, 1]]), 1)
    small = CompressedCollection.of(networks, latents, 1 << 14, ["a", "b"], [Placement()] * 2, octrees=[None, true])
    opened = Container.from_bytes(small.to_bytes())
    sections = [opened.read(*key).hex() for key in opened][1:]
    assert opened.meta() == {
        "kind": "collection", "settings": {}, "metadata": {}, "network": spec.to_json(),
        "items": [
            {"name": name, "centre": [0.0, 0.0, 0.0], "scale": 1.0, "cells": [cells], "tree": tree, "source_bytes": 0}
            for name, cells, tree in (("a", 0, "c44bdff4074eecdb"), ("b", 1, "fc1537fc103cb7cf"))
        ],
    }  # fmt: skip
    assert sections == EXPECTED_SECTIONS


EXPECTED_SECTIONS = [
    "0000803e" * 12 + "0002210d00",  # steps of 1/4; weights and biases of 3 steps
    "8080010218" + "2c",  # a step of 2^14; two bytes of integers, 5 and -6
    "0003010118",  # nothing of the first object; of the second one correction, five children behind the start
]


SPECS = st.builds(
    RecursiveSpec, latent=st.integers(1, 9), lods=st.integers(1, 4), base_width=st.integers(1, 9),
    base_layers=st.integers(1, 3), width=st.integers(1, 7), layers=st.integers(1, 3),
    fusion=st.sampled_from(["cat", "sum"]), colour=st.sampled_from(["none", "rgb", "radiance"]),
)  # fmt: skip


@settings(max_examples=25, deadline=None)
@given(SPECS, st.lists(st.text(max_size=9).filter(is_file_name), max_size=4, unique=True), st.integers(0, 99))
def test_any_collection_comes_back(spec: RecursiveSpec, names: list[str], seed: int) -> None:
    rng = np.random.default_rng(seed)
    octrees = [Octree.of_cells(rng.integers(0, 2, (3, 3)), spec.lods) if rng.integers(2) else None for _ in names]
    some = random_collection(spec, names, seed=seed, octrees=octrees, weight_bits=int(rng.integers(3, 12)))
    back = CompressedCollection.from_bytes(some.to_bytes())
    assert back.to_bytes() == some.to_bytes()
    assert (back.names, back.listing) == (tuple(names), some.listing)
    for number, octree in enumerate(octrees):
        mine, theirs = some.unfold(number), back.unfold(number)
        assert _same(mine.octree, theirs.octree)
        assert octree is None or _same(mine.octree, octree)
        assert all(torch.equal(*pair) for pair in zip(mine.latents, theirs.latents, strict=True))


def test_saved_and_opened(made: CompressedCollection, tmp_path: Path) -> None:
    path = tmp_path / "things.fcodec"
    made.save(path)
    opened = open_collection(path)
    assert opened.listing == made.listing
    assert path.read_bytes() == opened.to_bytes()
    assert sum(opened.num_bytes.values()) == path.stat().st_size
    with pytest.raises(FieldcodecError):
        made.save(path)
    with pytest.raises(FieldcodecError):
        open_collection(tmp_path / "nothing.fcodec")


def test_opening_reads_the_description_alone(made: CompressedCollection) -> None:
    """Damage elsewhere is found when it is read."""
    data = bytearray(made.to_bytes())
    data[-1] ^= 1  # in the latents
    opened = CompressedCollection.from_bytes(bytes(data))
    assert opened.names == NAMES
    assert opened.networks.spec == TINY
    with pytest.raises(FormatError, match="LATENTS"):
        opened.unfold("cup")


def test_objects_by_name_and_position(made: CompressedCollection) -> None:
    assert made.position(-1) == made.position("椅子") == 2
    assert made["cup"].name == made[0].name == "cup"
    assert [each.name for each in made] == list(NAMES)
    assert made["cup"].octree.num_cells[1:] == made.entry("cup").cells
    for key in ("chair", 3, -4):
        with pytest.raises(UsageError, match="no object"):
            made.position(key)


def test_fields_are_sampled(made: CompressedCollection) -> None:
    field = CompressedCollection.from_bytes(made.to_bytes())["Stuhl äß"]
    centre = np.array([[0.5, -1.25, 1e-3]])
    low, high = field.bounds
    assert (low >= centre - 0.5).all()
    assert (high <= centre + 0.5).all()
    assert field.channels == 4


def test_unfolded_objects_are_kept_within_bounds(made: CompressedCollection, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = CompressedCollection.from_bytes(made.to_bytes())
    first = opened.unfold(0)
    assert opened.unfold("cup") is first
    monkeypatch.setattr(compressed, "KEPT_BYTES", first.num_bytes + opened.unfold(1).num_bytes)
    opened.unfold(0)
    opened.unfold(2)  # the one that was not asked for the longest time goes
    assert opened.unfold(0) is first
    monkeypatch.setattr(compressed, "KEPT_BYTES", 0)
    assert opened.unfold(1) is opened.unfold(1)
    assert len(opened._kept) == 1


def test_objects_are_removed_and_added_without_touching_the_rest(made: CompressedCollection) -> None:
    opened = CompressedCollection.from_bytes(made.to_bytes())
    fewer = opened.removed(["Stuhl äß", 0])
    assert fewer.names == ("椅子",)
    assert fewer.sections["networks"] == opened.sections["networks"]
    assert _same(CompressedCollection.from_bytes(fewer.to_bytes()).unfold(0).octree, made.unfold(2).octree)
    latents = frozen_latents(new_latents(1, TINY.latent, 9), fewer.latent_step)
    more = fewer.with_items(latents, ["late"], [Placement((1, 2, 3), 4.0)])
    assert more.names == ("椅子", "late")
    assert more.sections["networks"] == opened.sections["networks"]
    back = CompressedCollection.from_bytes(more.to_bytes())
    assert np.allclose(back.latents[1], latents[0] * back.latent_step / LATENT_UNIT)
    assert tree_hash(back.unfold("late").octree) == back.entry("late").tree
    assert opened.removed([0, 1, 2]).names == ()
    assert CompressedCollection.from_bytes(opened.removed([0, 1, 2]).to_bytes()).latents.shape == (0, 6)
    restored = opened.removed([2]).with_items(opened._latents[0][2:], ["椅子"], [opened.entry(2).placement])
    assert restored.unfold(2).octree.num_cells == opened.unfold(2).octree.num_cells
    with pytest.raises(UsageError, match="no object"):
        opened.removed(["chair"])


def test_true_octrees_are_kept_exactly() -> None:
    rng = np.random.default_rng(4)
    true = [Octree.of_cells(rng.integers(0, 8, (30, 3)), 3), None, Octree.of_cells(rng.integers(0, 8, (1, 3)), 3)]
    free = random_collection()
    forced = random_collection(octrees=true)
    back = CompressedCollection.from_bytes(forced.to_bytes())
    for number, octree in enumerate(true):
        assert _same(back.unfold(number).octree, octree or free.unfold(number).octree)
    sizes = list(back.own_bytes.values())
    assert sizes[1] == 0
    assert sizes[0] > sizes[2] > 0
    assert free.num_bytes["tree corrections"] == 0
    assert back.num_bytes["tree corrections"] == sum(sizes) + 3
    cells = back.unfold(2).octree
    assert [len(values) for values in back.unfold(2).latents] == list(cells.num_cells[1:]) == [1, 1, 1]
    agreed = random_collection(octrees=[free.unfold(number).octree for number in range(3)])
    assert agreed.to_bytes() == free.to_bytes()


def test_what_is_up_is_kept_of_radiance_fields() -> None:
    spec, kinds = replace(TINY, colour="rgb+radiance"), ("radiance", "radiance", "distance")
    made = random_collection(spec, kinds=kinds, ups=[(0, 0, 3.0), (3e-9, -4.0, 0), (1.0, 0, 0)])
    back = CompressedCollection.from_bytes(made.to_bytes())
    usual, other, surface = ([*item.to_json(spec)] for item in back.listing.items)
    assert ("up" in usual, "up" in other, "up" in surface) == (False, True, False)  # usual ones take no bytes
    assert [item.up for item in back.listing.items] == [(0, 0, 1), (0, -1, 0), (0, 0, 1)]
    field = back.removed([0]).field(0)
    assert isinstance(field, RadianceItem)
    assert field.up == look_around(field).up == (0, -1, 0)
    wide = turntable(look_around(field), 8)
    levels = [np.dot(np.subtract(each.position, each.look_at), field.up) for each in wide]
    assert np.ptp(levels) < 1e-6 * np.linalg.norm(np.subtract(wide[0].position, wide[0].look_at))
    facts = describe_collection(Container.from_bytes(made.to_bytes()))
    assert [item.get("up") for item in facts["items"]] == [[0, 0, 1], [0, -1, 0], None]
    with pytest.raises(UsageError, match="direction upwards"):
        random_collection(spec, kinds=kinds, ups=[(0, 0, 1), (0, 0, 0), (0, 0, 1)])


def test_shared_files_are_known_again(made: CompressedCollection) -> None:
    assert made.with_shared_files(()).to_bytes() == made.to_bytes()
    more = made.with_shared_files(["b", "a"]).with_shared_files(["b", "c"])
    back = CompressedCollection.from_bytes(more.to_bytes())
    assert back.listing.metadata == {"source": "tests", "shared_files": ["a", "b", "c"]}
    assert back.removed([0]).listing.shared_files == {"a", "b", "c"}
    for strange, found in ((7, set()), ({"a": 1}, set()), (["a", 7, None, []], {"a"})):
        listing = replace(made.listing, metadata={"shared_files": strange})
        assert listing.shared_files == found


@pytest.mark.parametrize(
    "names", [("a", "a"), ("",), ("a/b",), ("..",), ("x" * 256,), ("é" * 128,), ("a\nb",), ("\ud800",)]
)
def test_names_that_no_file_can_have_are_refused(names: tuple[str, ...]) -> None:
    with pytest.raises(UsageError, match="named"):
        random_collection(names=names)


def test_what_does_not_go_together_is_refused(made: CompressedCollection) -> None:
    latents = np.zeros((1, TINY.latent), np.int32)
    with pytest.raises(UsageError, match="go together"):
        made.with_items(latents[:, 1:], ["late"], [Placement()])
    with pytest.raises(UsageError, match="go together"):
        made.with_items(latents, ["late"], [])
    with pytest.raises(UsageError, match="named 'cup'"):
        made.with_items(latents, ["cup"], [Placement()])
    with pytest.raises(UsageError, match="2048 steps; at most 2047"):
        made.with_items(latents + 2048, ["late"], [Placement()])
    for placement in (Placement(scale=0.0), Placement((0.0, float("nan"), 0.0)), Placement((0.0, 0.0, 1e31))):
        with pytest.raises(UsageError, match="cannot be stored"):
            made.with_items(latents, ["late"], [placement])
    with pytest.raises(UsageError, match="levels"):
        made.with_items(latents, ["late"], [Placement()], octrees=[Octree.of_cells(np.zeros((1, 3), int), 4)])


def test_the_description_needs_no_torch(made: CompressedCollection, tmp_path: Path) -> None:
    path = tmp_path / "things.fcodec"
    made.save(path)
    with open_container(path) as opened:
        described = describe_collection(opened)
    assert [item["name"] for item in described["items"]] == list(NAMES)
    assert described["parameters"] == TINY.num_parameters
    assert described["sections"] == {name: size for name, size in made.num_bytes.items() if name != "meta"}
    code = "import sys, fieldcodec.collection.listing as l; sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
