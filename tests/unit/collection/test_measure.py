"""Objects measured against what they were fitted to."""

import json
from dataclasses import replace

import numpy as np
import pytest

from fieldcodec.collection.item import ItemField
from fieldcodec.collection.measure import measure_item
from fieldcodec.grid.octree import Octree
from fieldcodec.metrics.shapes import sampling_floor
from fieldcodec.testing.spheres import RADIUS, Fitted

AREA = 4 * np.pi * RADIUS**2


def test_a_fitted_sphere_is_measured_as_one(fitted: Fitted) -> None:
    quality = measure_item(fitted.item, fitted.asset, resolution=64)
    assert quality.surface_points == 10000  # the other half is for the floor
    assert quality.chamfer_floor == pytest.approx(sampling_floor(AREA, 10000, 10000), rel=0.05)
    assert quality.area == pytest.approx(AREA, rel=0.1)
    assert quality.iou is not None
    assert quality.iou > 93
    assert quality.chamfer is not None
    assert quality.chamfer_floor < quality.chamfer < 5 * quality.chamfer_floor
    assert quality.normal_consistency is not None
    assert quality.normal_consistency > 0.95
    assert quality.psnr is not None
    assert quality.psnr > 20
    assert quality.distance_error < 0.02
    assert json.loads(json.dumps(quality.to_json()))["name"] == "sphere"


def test_a_sphere_that_is_too_large_is_worse(fitted: Fitted) -> None:
    """The asset shrinks by 5 %: what is known of two spheres must come out."""
    asset, shrunk = fitted.asset, 0.95
    surface = replace(asset.surface, points=asset.surface.points * np.float32(shrunk), colours=None)
    volume = replace(asset.volume, points=asset.volume.points * np.float32(shrunk))
    best = measure_item(fitted.item, asset, resolution=64)
    quality = measure_item(fitted.item, replace(asset, surface=surface, volume=volume), resolution=64)
    assert quality.iou == pytest.approx(100 * shrunk**3, abs=4)
    assert best.mean_distance is not None
    assert quality.mean_distance is not None
    assert quality.mean_distance > best.mean_distance + 0.01
    assert quality.psnr is None


def test_nothing_decoded_has_no_distance(fitted: Fitted) -> None:
    none = np.zeros((0, 8), bool)
    octree = Octree(1, (np.zeros((1, 8), bool), none, none, none))
    empty = ItemField(fitted.network, octree, [values[:0] for values in fitted.item.latents])
    quality = measure_item(empty, fitted.asset)
    assert (quality.chamfer, quality.normal_consistency, quality.cells) == (None, None, 0)
    assert quality.iou == 0
