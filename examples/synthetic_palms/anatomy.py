"""What is particular about one invented palm: its outline, its lines, its veins.

Everything is drawn once per palm on a canvas of twice the sensor's resolution, as three grey
layers: where the hand is, how dark the skin's lines are, how dark the veins are.
"""

from functools import lru_cache
from typing import Final, Literal

import msgspec
import numpy as np
from PIL import Image, ImageDraw, ImageFilter

WIDTH: Final = 180
HEIGHT: Final = 256
CANVAS_SCALE: Final = 2
"""Canvas pixels per sensor pixel, along each axis."""

_CENTRE: Final = (100.0, 164.0)
_TIPS_AT: Final = (-32.0, -11.0, 11.0, 31.0)
_FINGER_LENGTHS: Final = (54.0, 66.0, 62.0, 44.0)

Point = tuple[float, float]


class Palm(msgspec.Struct, frozen=True):
    """One invented palm. Equal numbers are the same palm, to the pixel."""

    person: int
    hand: Literal["left", "right"]


class Layers(msgspec.Struct, frozen=True):
    """Grey pictures on the canvas, 0 to 255; `tone` is the skin's RGB reflectance, 0 to 1."""

    mask: Image.Image
    print_lines: Image.Image
    veins: Image.Image
    tone: tuple[float, float, float]


@lru_cache(maxsize=64)
def layers(palm: Palm) -> Layers:
    """The palm as it is, before any sensor has looked at it."""
    rng = np.random.default_rng([palm.person, 0 if palm.hand == "left" else 1])
    mask = _outline(rng)
    lines = _skin_lines(rng).filter(ImageFilter.GaussianBlur(1.0))
    veins = _vein_tree(rng).filter(ImageFilter.GaussianBlur(2.5))
    if palm.hand == "left":
        mirror = Image.Transpose.FLIP_LEFT_RIGHT
        mask, lines, veins = (layer.transpose(mirror) for layer in (mask, lines, veins))
    # A person's two hands share their tone, and only that.
    lightness = float(np.random.default_rng([palm.person, 2]).uniform(0.45, 0.95))
    return Layers(mask, lines, veins, (lightness, lightness * 0.78, lightness * 0.68))


def _canvas() -> tuple[Image.Image, ImageDraw.ImageDraw]:
    picture = Image.new("L", (WIDTH * CANVAS_SCALE, HEIGHT * CANVAS_SCALE), 0)
    return picture, ImageDraw.Draw(picture)


def _scaled(points: list[Point]) -> list[Point]:
    return [(x * CANVAS_SCALE, y * CANVAS_SCALE) for x, y in points]


def _outline(rng: np.random.Generator) -> Image.Image:
    """A rounded palm, four fingers and a thumb, wholly inside the frame."""
    picture, draw = _canvas()
    cx, cy = _CENTRE
    half_width = 44.0 + rng.uniform(-3, 3)
    half_height = 47.0 + rng.uniform(-3, 3)
    turn = np.linspace(0, 2 * np.pi, 72)
    squareness = 2 / 2.8
    xs = cx + half_width * np.sign(np.cos(turn)) * np.abs(np.cos(turn)) ** squareness
    ys = cy + half_height * np.sign(np.sin(turn)) * np.abs(np.sin(turn)) ** squareness
    draw.polygon(_scaled(list(zip(xs.tolist(), ys.tolist(), strict=True))), fill=255)
    for index, (offset, length) in enumerate(zip(_TIPS_AT, _FINGER_LENGTHS, strict=True)):
        angle = np.deg2rad(-9 + 6 * index + rng.uniform(-2, 2))
        reach = length * rng.uniform(0.92, 1.05)
        root = (cx + offset, cy - half_height + 12)
        tip = (root[0] + reach * np.sin(angle), root[1] - 8 - reach * np.cos(angle))
        _capsule(draw, root, tip, 17.5 + rng.uniform(-1, 1))
    angle = np.deg2rad(-42 + rng.uniform(-5, 5))
    root = (cx - half_width + 8, cy + 12)
    tip = (root[0] + 44 * np.sin(angle), root[1] - 44 * np.cos(angle))
    _capsule(draw, root, tip, 20.0 + rng.uniform(-1, 1))
    return picture.filter(ImageFilter.GaussianBlur(1.5))


def _capsule(draw: ImageDraw.ImageDraw, root: Point, tip: Point, width: float) -> None:
    draw.line(_scaled([root, tip]), fill=255, width=round(width * CANVAS_SCALE))
    for x, y in _scaled([root, tip]):
        radius = width * CANVAS_SCALE / 2
        draw.ellipse((x - radius, y - radius, x + radius, y + radius), fill=255)


def _skin_lines(rng: np.random.Generator) -> Image.Image:
    """Three principal lines that everybody has, bent in each palm's own way, and wrinkles."""
    picture, draw = _canvas()
    cx, cy = _CENTRE

    def near(dx: float, dy: float, spread: float = 6.0) -> Point:
        return cx + dx + rng.uniform(-spread, spread), cy + dy + rng.uniform(-spread, spread)

    heart = [near(42, -14), near(22, -12), near(0, -24), near(-14, -38)]
    head = [near(-42, -16), near(-18, -8), near(10, 2), near(34, 14)]
    life = [near(-42, -16), near(-14, -14), near(-8, 16), near(-20, 46)]
    for bends in (heart, head, life):
        _curve(draw, bends, rng.uniform(2.0, 3.2), int(rng.uniform(170, 240)))
    for _ in range(int(rng.integers(8, 14))):
        start = near(0, 0, 38)
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(18, 46)
        _curve(draw, _strand(rng, start, angle, length), 1.4, int(rng.uniform(80, 170)))
    for _ in range(int(rng.integers(40, 60))):
        start = near(0, 0, 42)
        angle, length = rng.uniform(0, 2 * np.pi), rng.uniform(6, 18)
        _curve(draw, _strand(rng, start, angle, length), 1.0, int(rng.uniform(50, 130)))
    return picture


def _vein_tree(rng: np.random.Generator) -> Image.Image:
    """Trunks that rise from the heel, fork towards the fingers, and meet here and there."""
    picture, draw = _canvas()
    cx, cy = _CENTRE
    growing = [
        ((cx + rng.uniform(-30, 30), cy + 44.0), rng.uniform(-0.5, 0.5), 3.6)
        for _ in range(int(rng.integers(3, 5)))
    ]
    grown: list[Point] = []
    while growing and len(grown) < 60:
        start, angle, width = growing.pop(0)
        length = rng.uniform(14, 26)
        strand = _strand(rng, start, angle - np.pi / 2, length)
        _curve(draw, strand, width, int(rng.uniform(170, 250)))
        end = strand[-1]
        grown.append(end)
        if end[1] < cy - 44 or abs(end[0] - cx) > 44 or width < 1.6:
            continue
        spread = rng.uniform(0.25, 0.8)
        if rng.random() < 0.65:
            growing.append((end, angle + spread, width * 0.85))
            growing.append((end, angle - spread * rng.uniform(0.3, 1.0), width * 0.85))
        else:
            growing.append((end, angle + rng.uniform(-0.4, 0.4), width * 0.95))
    for _ in range(3):
        one, other = (grown[int(rng.integers(len(grown)))] for _ in range(2))
        _curve(draw, [one, other], 1.8, int(rng.uniform(120, 200)))
    return picture


def _strand(rng: np.random.Generator, start: Point, angle: float, length: float) -> list[Point]:
    """Four control points of a curve that sets out along `angle` and wanders."""
    points = [start]
    for _ in range(3):
        angle += rng.uniform(-0.45, 0.45)
        x, y = points[-1]
        points.append((x + length / 3 * np.cos(angle), y + length / 3 * np.sin(angle)))
    return points


def _curve(draw: ImageDraw.ImageDraw, bends: list[Point], width: float, darkness: int) -> None:
    """A Catmull-Rom spline through the control points."""
    control = np.array([bends[0], *bends, bends[-1]])
    at = np.linspace(0, 1, 8)[:, None]
    pieces = [
        0.5
        * (
            2 * p1
            + (p2 - p0) * at
            + (2 * p0 - 5 * p1 + 4 * p2 - p3) * at**2
            + (3 * p1 - p0 - 3 * p2 + p3) * at**3
        )
        for p0, p1, p2, p3 in zip(control, control[1:], control[2:], control[3:], strict=False)
    ]
    path: list[Point] = [(float(x), float(y)) for x, y in np.concatenate(pieces)]
    draw.line(
        _scaled(path), fill=darkness, width=max(1, round(width * CANVAS_SCALE)), joint="curve"
    )
