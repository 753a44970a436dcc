"""Pictures for people: cameras around fields and by name, sizes, backgrounds, depth and normals."""

from pathlib import Path

import numpy as np
import pytest

from fieldcodec.errors import InputError, UsageError
from fieldcodec.io.posed import project, rays, read_posed
from fieldcodec.radiance.field import Occupancy
from fieldcodec.radiance.measure import background_of, held_out, measure_views
from fieldcodec.radiance.pictures import (
    PictureOptions,
    draw,
    look_around,
    parse_camera,
    posed,
    resized,
)
from fieldcodec.render.camera import Camera, turntable
from fieldcodec.testing.radiance import Ball, Toy, cameras_around, write_scene

CENTRE = np.array([1.0, 2.0, -1.0])


@pytest.fixture
def ball() -> Ball:
    return Ball(CENTRE, 0.5, 300.0, (0.9, 0.2, 0.1))


class Sideways(Ball):
    """A ball for which y is down."""

    @property
    def up(self) -> tuple[float, float, float]:
        return 0.0, -1.0, 0.0


def test_the_default_camera_shows_everything(ball: Ball) -> None:
    for field in (ball, Sideways(CENTRE, 0.5, 300.0, (0.9, 0.2, 0.1))):
        for turning in (False, True):
            first = look_around(field, width=60, height=40, turning=turning)
            for camera in turntable(first, 5 if turning else 1):
                seen = posed(camera)
                corners = field.occupancy.low + np.array(list(np.ndindex(2, 2, 2))) * 20 * field.occupancy.cell
                pixels, depths = project(seen, corners)
                assert (depths > 0).all()
                assert (pixels > -0.5).all()
                assert (pixels < (59.5, 39.5)).all()
                assert seen.to_world[:, 1] @ np.array(field.up) > 0.5


def test_look_at_cameras_become_posed_ones() -> None:
    camera = Camera((3.0, 1.0, 2.0), (0.0, 0.0, 0.0), (0.0, 0.0, 1.0), fov=50.0, width=30, height=20)
    origins, ways = rays(posed(camera), np.array([[0, 0], [29, 19], [14.5, 9.5]]))
    table = camera.ray_table()
    for (x, y), way in zip([(-29 / 30, -19 / 20), (29 / 30, 19 / 20), (0, 0)], ways, strict=True):
        wanted = table[3] + x * table[4] + y * table[5]
        np.testing.assert_allclose(way, wanted / np.linalg.norm(wanted), atol=1e-12)
    np.testing.assert_allclose(origins, [camera.position] * 3)
    with pytest.raises(UsageError, match="orthographic"):
        posed(Camera((3.0, 1.0, 2.0), (0.0, 0.0, 0.0), height_world=2.0))


def test_backgrounds_and_supersampling(ball: Ball) -> None:
    camera = resized(posed(look_around(ball)), 40, 30)
    plain = draw(ball, camera, PictureOptions(background=(0.0, 0.0, 1.0), normals=True))
    assert plain.colours.shape == (30, 40, 3)
    assert plain.colours[0, 0].tolist() == [0, 0, 255]
    assert plain.normals is not None
    middle = plain.colours[15, 20].tolist()
    assert middle == [230, 51, 26]  # 0.9, 0.2, 0.1
    clear = draw(ball, camera, PictureOptions(background=None, supersampling=3))
    assert clear.colours.shape == (30, 40, 4)
    assert clear.depths.shape == (30, 40)
    alpha = clear.colours[..., 3]
    assert alpha[0, 0] == 0
    assert alpha[15, 20] == 255
    assert ((alpha > 20) & (alpha < 235)).any()  # edges between pixels
    near = np.abs(clear.depths[15, 20] - (np.linalg.norm(camera.position - CENTRE) - 0.5))
    assert near < ball.occupancy.cell
    assert (clear.depths[alpha == 0] == 0).all()
    assert draw(ball).colours.shape == (512, 512, 3)
    with pytest.raises(UsageError, match="supersampling"):
        PictureOptions(supersampling=0)


def test_an_empty_field_has_no_default_camera() -> None:
    empty = Ball(CENTRE, 0.5, 1.0, (0, 0, 0), Occupancy(np.zeros(3), 1.0, np.zeros((2, 2, 2), bool)))
    with pytest.raises(UsageError, match="empty"):
        draw(empty)


def test_cameras_by_name_and_held_out_views(tmp_path: Path) -> None:
    cameras = {"train": cameras_around([0, 0, 0], 4, 4), "val": cameras_around([0, 0, 0], 4, 5, width=24)}
    write_scene(tmp_path, Toy(), cameras, background=0.0)
    camera = parse_camera(f"{tmp_path}:val/2")
    np.testing.assert_allclose(camera.to_world, cameras["val"][2].to_world)
    wide = resized(camera, 48, 64)
    assert (wide.fx, wide.cx, wide.cy) == (camera.fx * 2, 24, 32)
    for text in ("val/2", f"{tmp_path}:val", f"{tmp_path}:best/0", f"{tmp_path}:val/-1", ":val/0", ""):
        with pytest.raises(UsageError, match="not understood"):
            parse_camera(text)
    with pytest.raises(UsageError, match="5 views of val"):
        parse_camera(f"{tmp_path}:val/5")
    with pytest.raises(InputError):
        parse_camera(f"{tmp_path / 'none'}:val/0")
    scene = read_posed(tmp_path)
    assert background_of(scene) == 0.0
    assert [view.name for view in held_out(scene, 2)] == ["val_000", "val_002"]
    shares: list[float] = []
    found = list(measure_views(Toy(), scene, most=2, on_progress=shares.append))
    assert shares == [0.5, 1.0]
    assert min(each.quality.psnr for each in found) > 30  # but for the step and 8 bits, it is the same
    train_only = read_posed(tmp_path / "transforms_train.json")
    if not train_only.of("val") and not train_only.of("test"):
        with pytest.raises(UsageError, match="held-out"):
            held_out(train_only)
