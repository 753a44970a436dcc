"""Files to assets: which files, by which names, kept on disk, and problems told all at once."""

import gzip
import json
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from fieldcodec.collection import asset_cache
from fieldcodec.collection import prepare as module
from fieldcodec.collection.asset import Asset
from fieldcodec.collection.inputs import find_inputs, object_name
from fieldcodec.collection.prepare import prepare
from fieldcodec.collection.settings import CollectionSettings
from fieldcodec.errors import InputError
from fieldcodec.fit.phases import FitEvent
from fieldcodec.grid.procedural import smoke_fog, sphere_level_set
from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.io.volumes import write_volumes

pytest.importorskip("trimesh", reason="trimesh is not installed")

SETTINGS = CollectionSettings(lods=3, surface_points=1000)
WEDGE = """mtllib wedge.mtl
usemtl paint
v 0 0 0
v 1 0 0
v 0 1 0
v 0 0 1
vt 0.5 0.5
f 1/1 3/1 2/1
f 1/1 2/1 4/1
f 1/1 4/1 3/1
f 2/1 3/1 4/1
"""


def wedge(folder: Path, name: str = "wedge") -> Path:
    """A red tetrahedron with its material and texture beside it."""
    (folder / "wedge.mtl").write_text("newmtl paint\nmap_Kd paint.png\n")
    paint(folder, (255, 0, 0))
    path = folder / f"{name}.obj"
    path.write_text(WEDGE)
    return path


def paint(folder: Path, colour: tuple[int, int, int]) -> None:
    Image.fromarray(np.full((2, 2, 3), colour, np.uint8)).save(folder / "paint.png")


def same(one: Asset, other: Asset) -> bool:
    def parts(asset: Asset) -> list[object]:
        surface = [asset.surface.points, asset.surface.normals, asset.surface.colours]
        return [*surface, *vars(asset.near).values(), *vars(asset.volume).values()]

    facts = [(asset.name, asset.placement, asset.source_bytes) for asset in (one, other)]
    return facts[0] == facts[1] and all(
        np.array_equal(a, b)
        for a, b in zip(parts(one), parts(other), strict=True)  # type: ignore[arg-type]
    )


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names of the assets that are really made."""
    names: list[str] = []
    real: Callable[..., object] = module._made

    def watched(name: str, *others: object) -> object:
        names.append(name)
        return real(name, *others)

    monkeypatch.setattr(module, "_made", watched)
    return names


def test_folders_files_and_patterns(tmp_path: Path) -> None:
    for name in ("b.stl", "a.obj.xz", "c.1.ply.gz", "d.vdb", "e.mtl", "f.txt", "paint.png"):
        (tmp_path / name).touch()
    (tmp_path / "inner.obj").mkdir()
    assert list(find_inputs([tmp_path])) == ["a", "b", "c.1", "d"]
    assert list(find_inputs([tmp_path / "d.vdb", f"{tmp_path}/[ab]*"])) == ["d", "a", "b"]
    assert list(find_inputs([tmp_path / "b.stl", tmp_path])) == ["b", "a", "c.1", "d"]
    assert object_name(Path("x/chair_07.OBJ.XZ")) == "chair_07"


def test_all_wrong_inputs_are_told_at_once(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("one.obj", "one.stl", "notes.txt"):
        (tmp_path / name).touch()
    wrong = [tmp_path / "one.obj", tmp_path / "one.stl", tmp_path / "empty", tmp_path / "notes.txt"]
    with pytest.raises(InputError) as caught:
        find_inputs([*wrong, tmp_path / "gone.obj", f"{tmp_path}/x*.obj"])
    lines = str(caught.value).splitlines()
    assert len(lines) == 5
    assert "one.obj and " in lines[0]
    assert "would both be the object 'one'" in lines[0]
    assert "holds no mesh, level set or posed pictures" in lines[1]
    assert "notes.txt is neither a mesh nor a level set" in lines[2]
    assert "gone.obj does not exist" in lines[3]
    assert "no mesh, level set or folder of posed pictures matches" in lines[4]
    (tmp_path / "scenes" / "lego").mkdir(parents=True)
    (tmp_path / "scenes" / "lego" / "transforms.json").touch()
    assert [*find_inputs([tmp_path / "scenes"])] == [*find_inputs([tmp_path / "scenes" / "lego"])] == ["lego"]
    with pytest.raises(InputError, match="no input files"):
        find_inputs([])


def test_assets_come_in_order_with_colours_and_progress(tmp_path: Path) -> None:
    first, second = wedge(tmp_path, "zebra"), wedge(tmp_path, "ant")
    plain = tmp_path / "plain.obj.gz"
    plain.write_bytes(gzip.compress(WEDGE.replace("mtllib wedge.mtl", "").encode()))
    events: list[FitEvent] = []
    assets = prepare([first, second, plain], SETTINGS, keep=False, on_event=events.append)
    assert [asset.name for asset in assets] == ["zebra", "ant", "plain"]
    assert [(event.step, event.total) for event in events] == [(0, 3), (1, 3), (2, 3), (3, 3)]
    assert [asset.has_colours for asset in assets] == [True, True, False]
    assert assets[0].surface.colours is not None
    assert (assets[0].surface.colours == (255, 0, 0)).all()
    files = [first, second, plain, tmp_path / "wedge.mtl", tmp_path / "paint.png"]
    assert sum(asset.source_bytes for asset in assets) == sum(file.stat().st_size for file in files)
    assert 0 <= assets[0].source_bytes - assets[1].source_bytes <= 2  # they share material and texture
    assert assets[2].source_bytes == plain.stat().st_size
    alone = prepare([tmp_path], SETTINGS, names=["ant"], keep=False)
    assert [asset.name for asset in alone] == ["ant"]
    assert alone[0].source_bytes == sum(file.stat().st_size for file in files[1:] if file != plain)
    assert not prepare([first], replace(SETTINGS, colour="none"), keep=False)[0].has_colours


def test_files_that_a_collection_knows_count_no_more(tmp_path: Path) -> None:
    first, second, third = (wedge(tmp_path, name) for name in ("ant", "bee", "cat"))
    cache = tmp_path / "cache"
    ant, bee = prepare([first, second], SETTINGS, cache=cache)
    assert ant.shared_files == bee.shared_files
    assert len(set(ant.shared_files)) == 2  # material and texture
    (alone,) = prepare([third], SETTINGS, cache=cache)
    assert alone.shared_files == ()
    (later,) = prepare([third], SETTINGS, counted=ant.shared_files, cache=cache)
    assert later.source_bytes == third.stat().st_size < alone.source_bytes
    assert later.shared_files == ant.shared_files
    (tmp_path / "paint.png").write_bytes((tmp_path / "paint.png").read_bytes() + b"more")  # another file
    (other,) = prepare([third], SETTINGS, counted=ant.shared_files, cache=cache)
    assert other.source_bytes == third.stat().st_size + (tmp_path / "paint.png").stat().st_size
    assert len(set(other.shared_files) & set(ant.shared_files)) == len(other.shared_files) == 1


@pytest.mark.parametrize("colour", ["auto", "none"])
def test_files_beside_a_gltf_count(tmp_path: Path, made: list[str], colour: str) -> None:
    corners = np.array([[0, 0, 0], [1, 0, 0], [0, 1, 0]], "<f4")
    (tmp_path / "shape.bin").write_bytes(corners.tobytes())
    view = {"buffer": 0, "byteLength": 36}
    accessor = {"bufferView": 0, "componentType": 5126, "count": 3, "type": "VEC3", "min": [0] * 3, "max": [1, 1, 0]}
    scene = {
        "asset": {"version": "2.0"}, "scenes": [{"nodes": [0]}], "nodes": [{"mesh": 0}],
        "meshes": [{"primitives": [{"attributes": {"POSITION": 0}}]}], "accessors": [accessor],
        "bufferViews": [view], "buffers": [{"uri": "shape.bin", "byteLength": 36}],
    }  # fmt: skip
    path, settings = tmp_path / "shape.gltf", replace(SETTINGS, colour=colour)
    path.write_text(json.dumps(scene))
    (first,) = prepare([path], settings, cache=tmp_path / "cache")
    assert first.source_bytes == path.stat().st_size + 36
    prepare([path], settings, cache=tmp_path / "cache")
    assert made == ["shape"]
    (tmp_path / "shape.bin").write_bytes((2 * corners).tobytes())
    (second,) = prepare([path], settings, cache=tmp_path / "cache")
    assert second.placement.scale == pytest.approx(2 * first.placement.scale)


def test_a_second_run_makes_nothing(tmp_path: Path, made: list[str]) -> None:
    path, cache = wedge(tmp_path), tmp_path / "cache"
    first = prepare([path], SETTINGS, cache=cache)[0]
    again = prepare([path], replace(SETTINGS, steps=9, width=32), cache=cache)[0]
    assert made == ["wedge"]
    assert same(first, again)
    renamed = path.rename(tmp_path / "other.obj")
    assert prepare([renamed], SETTINGS, cache=cache)[0].name == "other"
    assert made == ["wedge"]
    prepare([renamed], SETTINGS, cache=cache, keep=False)
    assert made == ["wedge", "other"]


@pytest.mark.parametrize("change", [{"lods": 4}, {"surface_points": 1001}, {"seed": 1}, {"colour": "none"}])
def test_settings_that_matter(tmp_path: Path, made: list[str], change: dict[str, object]) -> None:
    path = wedge(tmp_path)
    prepare([path], SETTINGS, cache=tmp_path / "cache")
    prepare([path], replace(SETTINGS, **change), cache=tmp_path / "cache")  # type: ignore[arg-type]
    assert len(made) == 2


def test_a_changed_file_or_texture_is_read_anew(tmp_path: Path, made: list[str]) -> None:
    path, cache = wedge(tmp_path), tmp_path / "cache"
    prepare([path], SETTINGS, cache=cache)
    paint(tmp_path, (0, 0, 255))
    blue = prepare([path], SETTINGS, cache=cache)[0]
    assert blue.surface.colours is not None
    assert (blue.surface.colours == (0, 0, 255)).all()
    path.write_text(WEDGE.replace("v 0 0 1", "v 0 0 2"))
    assert prepare([path], SETTINGS, cache=cache)[0].placement != blue.placement
    assert len(made) == 3


@pytest.mark.parametrize("harm", ["cut", "flipped", "empty", "foreign"])
def test_a_damaged_cache_is_made_anew(tmp_path: Path, made: list[str], harm: str) -> None:
    path, cache = wedge(tmp_path), tmp_path / "cache"
    first = prepare([path], SETTINGS, cache=cache)[0]
    (kept,) = cache.iterdir()
    data = bytearray(kept.read_bytes())
    data[len(data) // 2] ^= 1
    harmed = {"cut": data[: len(data) // 2], "flipped": data, "empty": b"", "foreign": b"no archive at all"}
    kept.write_bytes(harmed[harm])
    assert same(first, prepare([path], SETTINGS, cache=cache)[0])
    assert made == ["wedge", "wedge"]
    prepare([path], SETTINGS, cache=cache)
    assert len(made) == 2


def test_a_cache_that_cannot_be_written_is_no_error(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    assert len(prepare([wedge(tmp_path)], SETTINGS, cache=tmp_path / "file" / "cache")) == 1


def test_what_was_not_used_for_longest_goes_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path, cache = wedge(tmp_path), tmp_path / "cache"
    prepare([path], SETTINGS, cache=cache)
    size = next(cache.iterdir()).stat().st_size
    monkeypatch.setattr(asset_cache, "_MOST_BYTES", int(size * 1.5))
    (old,) = cache.iterdir()
    prepare([path], replace(SETTINGS, seed=1), cache=cache)
    (left,) = cache.iterdir()
    assert left != old


def test_the_default_folder_is_the_platforms(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setenv("LOCALAPPDATA", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path))
    folders = {
        "linux": tmp_path / "fieldcodec" / "assets", "win32": tmp_path / "fieldcodec" / "assets",
        "darwin": tmp_path / "Library" / "Caches" / "fieldcodec" / "assets",
    }  # fmt: skip
    for platform, folder in folders.items():
        monkeypatch.setattr(sys, "platform", platform)
        assert asset_cache.default_folder() == folder
    monkeypatch.setattr(sys, "platform", "linux")
    prepare([wedge(tmp_path)], SETTINGS)
    assert len(list(folders["linux"].iterdir())) == 1


def test_level_sets_are_objects_too(tmp_path: Path) -> None:
    ball = sphere_level_set(12.0)
    write_volumes(tmp_path / "ball.vdb", VolumeFile((ball, smoke_fog(32))))
    (asset,) = prepare([tmp_path / "ball.vdb"], SETTINGS, keep=False)
    assert asset.name == "ball"
    assert asset.placement.scale == pytest.approx(12 / 0.9, rel=0.01)


def test_each_of_several_level_sets_is_an_object(tmp_path: Path, made: list[str]) -> None:
    path, cache = tmp_path / "parts.vdb", tmp_path / "cache"
    small, large = sphere_level_set(8.0), sphere_level_set(12.0)
    grids = replace(small, name="left"), smoke_fog(32), replace(large, name="right"), replace(small, name="")
    write_volumes(path, VolumeFile(grids))
    assert [*find_inputs([path])] == ["parts_left", "parts_right", "parts_3"]
    assets = prepare([path], SETTINGS, cache=cache)
    assert [asset.name for asset in assets] == made == ["parts_left", "parts_right", "parts_3"]
    assert [asset.placement.scale for asset in assets] == pytest.approx([8 / 0.9, 12 / 0.9, 8 / 0.9], rel=0.01)
    assert sum(asset.source_bytes for asset in assets) == path.stat().st_size
    again = prepare([path], SETTINGS, names=["parts_right"], cache=cache)
    assert len(made) == 3
    assert np.array_equal(again[0].surface.points, assets[1].surface.points)  # type: ignore[union-attr]
    (tmp_path / "parts_left.obj").write_text(WEDGE)
    with pytest.raises(InputError, match=r"parts\.vdb \(grid #0\) and .*parts_left\.obj would both be the object"):
        find_inputs([path, tmp_path / "parts_left.obj"])
    write_volumes(path, VolumeFile((small, small)))
    with pytest.raises(InputError, match=r"\(grid #0\) and .*\(grid #1\) would both .*; rename one of the grids"):
        find_inputs([path])
    write_volumes(path, VolumeFile((small, replace(small, name="a/b"))))
    with pytest.raises(InputError, match="no object can be named after the grid 'a/b'"):
        find_inputs([path])


def test_bad_files_are_told_together(tmp_path: Path) -> None:
    (tmp_path / "bad.stl").write_bytes(b"solid nothing")
    (tmp_path / "flat.obj").write_text("v 0 0 0\nv 1 0 0\nv 2 0 0\nf 1 2 3\n")
    (tmp_path / "torn.vdb").write_bytes(b"torn")
    write_volumes(tmp_path / "fog.vdb", VolumeFile((smoke_fog(32),)))
    wedge(tmp_path)
    with pytest.raises(InputError) as caught:
        prepare([tmp_path], SETTINGS, keep=False)
    lines = str(caught.value).splitlines()
    assert [name in line for name, line in zip(("bad.stl", "flat.obj", "fog.vdb", "torn.vdb"), lines, strict=True)]
    assert "no area" in lines[1]
    assert "no level set" in lines[2]
    with pytest.raises(InputError, match=r"flat\.obj: the triangles of the mesh have no area"):
        prepare([tmp_path / "flat.obj"], SETTINGS, keep=False)
