"""Drops that fall into a pool: bodies of water that touch, merge, come apart and come together again.

No equation of motion is solved: drops fall as stones do; where one meets the pool it sinks in, a crater opens and
swings back, rings run outwards, and droplets fly off in a crown and once more from the middle. All are put together
by a soft minimum, so that necks form and break as they meet and part.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from fieldcodec.grid.sparse_grid import VolumeFile
from fieldcodec.simulate.implicit import level_set_of_surface
from fieldcodec.simulate.options import SequenceOptions

DURATION = 2.5  # seconds

_GRAVITY = 2.0  # in sides of the unit cube per second^2
_LEVEL, _FLOOR, _HALF_POOL = 0.3, 0.1, 0.4  # heights of the water and its bottom, and half the width
_MELT = 0.01  # how near bodies come before they flow together
_NUM_DROPS, _NUM_CROWN = 4, 7
_WAVE, _WAVE_NUMBER, _WAVE_SPEED, _WAVE_WIDTH = 0.009, 55.0, 0.3, 0.07
_CRATER, _CRATER_WIDTH, _CRATER_SPEED = 0.05, 0.05, 9.0  # depth, width, and swings by radians per second
_CALM = 0.45  # seconds in which waves and craters become smaller by e


@dataclass(frozen=True)
class Ball:
    """A ball of water in free flight."""

    born: float  # seconds; it is not there before
    place: np.ndarray  # [3] where it is born
    speed: np.ndarray  # [3] there
    radius: float

    def middle(self, time: float) -> np.ndarray:
        since = time - self.born
        return np.asarray(self.place + self.speed * since - np.array([0.0, 0.5 * _GRAVITY * since**2, 0.0]))

    def is_seen(self, time: float) -> bool:
        """False before its birth and once it is deep in the water."""
        return time >= self.born and self.middle(time)[1] > _LEVEL - _CRATER - 3 * self.radius


@dataclass(frozen=True)
class Impact:
    """A drop meets the pool; `size` is 1 for the largest drops."""

    time: float
    place: np.ndarray  # [2] x and z
    size: float

    def height(self, x: np.ndarray, z: np.ndarray, time: float) -> np.ndarray:
        """How much the water is above its level at some places, once the drop has come."""
        since = time - self.time
        away = np.hypot(x - self.place[0], z - self.place[1])
        behind = away - _WAVE_SPEED * since
        ring = _WAVE * np.cos(_WAVE_NUMBER * behind) * np.exp(-((behind / _WAVE_WIDTH) ** 2))
        crater = -_CRATER * math.sin(_CRATER_SPEED * since) * np.exp(-((away / _CRATER_WIDTH) ** 2))
        return np.asarray(self._strength(since) * ((1 - math.exp(-since / 0.05)) * ring + crater))

    def slope(self, time: float) -> float:
        """At least the largest slope of `height`: exp(-x^2) falls by 0.86 at most, cos by 1."""
        wave = _WAVE * (_WAVE_NUMBER + 0.86 / _WAVE_WIDTH)
        return self._strength(time - self.time) * (wave + 0.86 * _CRATER / _CRATER_WIDTH)

    def _strength(self, since: float) -> float:
        return self.size * math.exp(-since / _CALM)


@dataclass(frozen=True)
class Splash:
    """All that happens; the function of the water's surface is asked for one time at once."""

    balls: tuple[Ball, ...]
    impacts: tuple[Impact, ...]

    @staticmethod
    def of_seed(seed: int) -> "Splash":
        """Drops of random size, place and order, and what they cause."""
        rng = np.random.default_rng(seed)
        balls, impacts = [], []
        for number in range(_NUM_DROPS):
            radius = rng.uniform(0.045, 0.075)
            x, z = rng.uniform(0.36, 0.64, 2)
            drop = Ball(0.0, np.array([x, 0.62 + 0.32 * number, z]), np.zeros(3), radius)
            time = math.sqrt(2 * (drop.place[1] - _LEVEL) / _GRAVITY)
            impact = Impact(time, np.array([x, z]), radius / 0.075)
            balls += [drop, *_droplets(impact, radius, rng)]
            impacts.append(impact)
        return Splash(tuple(balls), tuple(impacts))

    def surface(self, points: np.ndarray, time: float) -> np.ndarray:
        """[n, 3] world positions -> [n], negative in the water and zero at its surface."""
        x, y, z = points.T
        height = np.full(len(points), _LEVEL)
        for impact in self.impacts:
            if time > impact.time:
                height += impact.height(x, z, time)
        sides = np.maximum(np.abs(x - 0.5), np.abs(z - 0.5)) - _HALF_POOL
        bodies = [-_soft_minimum([height - y, y - _FLOOR, -sides])]
        bodies += [
            np.linalg.norm(points - ball.middle(time), axis=1) - ball.radius
            for ball in self.balls
            if ball.is_seen(time)
        ]
        return _soft_minimum(bodies)

    def steepest(self, time: float) -> float:
        """At least the largest slope of `surface`."""
        return math.hypot(1.0, sum(impact.slope(time) for impact in self.impacts if time > impact.time))

    def box(self, time: float) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest corner [3] of a box around all water."""
        waves = sum(impact.size * (_WAVE + _CRATER) for impact in self.impacts)
        low = np.array([0.5 - _HALF_POOL, _FLOOR, 0.5 - _HALF_POOL])
        high = np.array([0.5 + _HALF_POOL, _LEVEL + waves, 0.5 + _HALF_POOL])
        for ball in self.balls:
            if ball.is_seen(time):
                low = np.minimum(low, ball.middle(time) - ball.radius)
                high = np.maximum(high, ball.middle(time) + ball.radius)
        swell = _MELT * math.log(1 + len(self.balls))  # of a soft minimum of so many
        return low - swell, high + swell


def splash(options: SequenceOptions) -> Iterator[tuple[int, VolumeFile]]:
    """Frames with the level set `surface`, from second 0 to `DURATION` unless `options` say otherwise."""
    times = options.times(0.0, DURATION)
    water = Splash.of_seed(options.seed)
    for number in options.numbers:
        time = float(times[number])
        grid = level_set_of_surface(
            lambda points, time=time: water.surface(points, time),  # type: ignore[misc]
            water.steepest(time),
            *water.box(time),
            voxel_size=1 / options.resolution,
            name="surface",
        )
        yield number, VolumeFile((grid,))


def _droplets(impact: Impact, radius: float, rng: np.random.Generator) -> list[Ball]:
    """A crown of droplets that leave the water around an impact, and a larger one from its middle a bit later."""
    balls = []
    x, z = impact.place
    for number in range(_NUM_CROWN):
        angle = 2 * math.pi * (number + rng.uniform(-0.3, 0.3)) / _NUM_CROWN
        way, size = np.array([math.cos(angle), 0.0, math.sin(angle)]), rng.uniform(0.018, 0.028)
        place = np.array([x, _LEVEL - 1.5 * size, z]) + 0.9 * radius * way
        balls.append(Ball(impact.time, place, rng.uniform(0.08, 0.16) * way + (0.0, rng.uniform(0.6, 0.85), 0.0), size))
    later, size = impact.time + 0.35, 0.5 * radius
    middle = Ball(later, np.array([x, _LEVEL - 2 * size, z]), np.array([0.0, 0.9, 0.0]), size)
    return [*balls, middle]


def _soft_minimum(values: list[np.ndarray]) -> np.ndarray:
    """At most the smallest of some arrays, and that itself where the others are much larger than `_MELT`."""
    least = np.minimum.reduce(values)
    return np.asarray(least - _MELT * np.log(sum(np.exp((least - each) / _MELT) for each in values)))
