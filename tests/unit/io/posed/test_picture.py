"""Pictures: values, alpha, means over blocks, files that are none."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image

from fieldcodec.errors import InputError, UsageError
from fieldcodec.io.posed import over, shrunk
from fieldcodec.io.posed.picture import load_picture, picture_size
from fieldcodec.io.posed.scene import background_of


def test_values_are_those_of_the_file(tmp_path: Path) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (4, 6, 4), dtype=np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    picture = load_picture(tmp_path / "a.png")
    assert picture.dtype == np.float32
    np.testing.assert_array_equal(picture, pixels.astype(np.float32) / np.float32(255))
    assert picture_size(tmp_path / "a.png") == (6, 4)


@pytest.mark.parametrize(("mode", "channels"), [("RGB", 3), ("RGBA", 4), ("L", 3), ("LA", 4), ("P", 3), ("1", 3)])
def test_kinds_of_pictures(tmp_path: Path, mode: str, channels: int) -> None:
    Image.new(mode, (3, 2)).save(tmp_path / "a.png")
    assert load_picture(tmp_path / "a.png").shape == (2, 3, channels)


def test_a_palette_may_have_a_transparent_colour(tmp_path: Path) -> None:
    Image.new("P", (3, 2)).save(tmp_path / "a.png", transparency=0)
    assert (load_picture(tmp_path / "a.png")[..., 3] == 0).all()


def test_jpeg(tmp_path: Path) -> None:
    Image.new("RGB", (16, 8), (200, 100, 50)).save(tmp_path / "a.JPG", quality=95)
    np.testing.assert_allclose(load_picture(tmp_path / "a.JPG")[3, 3] * 255, [200, 100, 50], atol=3)


def test_hidden_colours_do_not_bleed() -> None:
    """A red pixel beside three fully transparent green ones stays red."""
    picture = np.zeros((2, 2, 4), np.float32)
    picture[..., 1] = 1
    picture[0, 0] = (1, 0, 0, 1)
    np.testing.assert_array_equal(shrunk(picture, 2), [[[1, 0, 0, 0.25]]])


@settings(max_examples=40, deadline=None)
@given(seed=st.integers(0, 1 << 30), factor=st.integers(1, 4), channels=st.sampled_from([3, 4]))
def test_means_over_any_background_are_those_of_the_full_picture(seed: int, factor: int, channels: int) -> None:
    rng = np.random.default_rng(seed)
    picture = rng.random((4 + rng.integers(8), 4 + rng.integers(8), channels), np.float32)
    if channels == 4:
        picture[..., 3] *= rng.random(picture.shape[:2]) < 0.6
    colour = tuple(rng.random(3))
    height, width = (side // factor for side in picture.shape[:2])
    full = over(picture, colour)[: height * factor, : width * factor].reshape(height, factor, width, factor, 3)
    small = shrunk(picture, factor)
    assert small.shape == (height, width, channels)
    assert small.dtype == np.float32
    assert small.min() >= 0
    assert small.max() <= 1
    np.testing.assert_allclose(over(small, colour), full.mean(axis=(1, 3)), atol=1e-6)


def test_factors_that_leave_no_picture_are_refused() -> None:
    with pytest.raises(UsageError, match="6 x 4 pixels cannot be made 5 times smaller"):
        shrunk(np.zeros((4, 6, 3), np.float32), 5)


@pytest.mark.parametrize(
    ("mode", "size", "message"),
    [("I;16", (3, 2), "kind 'I;16'"), ("L", (16385, 1), "16385 x 1 pixels"), ("1", (9000, 8000), "9000 x 8000 pixels")],
)
def test_pictures_that_are_not_read(tmp_path: Path, mode: str, size: tuple[int, int], message: str) -> None:
    Image.new(mode, size).save(tmp_path / "a.png")
    for read in (picture_size, load_picture):
        with pytest.raises(InputError, match=message):
            read(tmp_path / "a.png")


def test_files_that_are_no_pictures(tmp_path: Path) -> None:
    (tmp_path / "a.png").write_text("<svg/>")
    with pytest.raises(InputError, match=r"no sound .png or .jpg picture"):
        picture_size(tmp_path / "a.png")
    with pytest.raises(InputError, match="no such file"):
        picture_size(tmp_path / "b.png")
    with pytest.raises(InputError, match="cannot be read"):
        picture_size(tmp_path)


@pytest.mark.parametrize("suffix", ["png", "jpg"])
def test_cut_pictures(tmp_path: Path, suffix: str) -> None:
    """Cut anywhere, a picture is either refused or (JPEG's last bytes) whole."""
    pixels = np.random.default_rng(1).integers(0, 256, (20, 30, 3), dtype=np.uint8)
    path = tmp_path / f"a.{suffix}"
    Image.fromarray(pixels).save(path)
    raw = path.read_bytes()
    for length in range(0, len(raw) * 3 // 4, 37):
        path.write_bytes(raw[:length])
        with pytest.raises(InputError):
            load_picture(path)


def test_damaged_bytes_give_input_errors_only(tmp_path: Path) -> None:
    path = tmp_path / "a.png"
    Image.fromarray(np.random.default_rng(1).integers(0, 256, (8, 9, 4), dtype=np.uint8)).save(path)
    raw = path.read_bytes()
    rng = np.random.default_rng(2)
    refused = 0
    for place in range(0, len(raw), 2):
        path.write_bytes(raw[:place] + bytes([raw[place] ^ int(rng.integers(1, 256))]) + raw[place + 1 :])
        try:
            load_picture(path)
        except InputError:
            refused += 1
    assert refused > 10


def test_backgrounds() -> None:
    picture = np.zeros((8, 8, 4), np.float32)
    picture[2:6, 2:6] = 1
    assert background_of([picture]) is None
    picture[..., 3] = 1
    assert background_of([picture]) == "black"
    assert background_of([np.float32(1 / 255) + picture[..., :3] * 0.9]) == "black"
    assert background_of([1 - picture[..., :3]]) == "white"
    assert background_of([picture, 1 - picture[..., :3]]) == "surroundings"
    assert background_of([np.full((8, 8, 3), 0.5, np.float32)]) == "surroundings"
