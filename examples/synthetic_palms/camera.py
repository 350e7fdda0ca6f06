"""One look of a sensor at a palm: pose, light and noise, as a colour and an infrared PNG."""

import io
from typing import Any, Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageFilter

from examples.synthetic_palms.anatomy import CANVAS_SCALE, HEIGHT, WIDTH, Layers, Palm, layers

Grey = NDArray[np.floating[Any]]

_PNG_EFFORT: Final = 4


class Capture(msgspec.Struct, frozen=True):
    """What a device sends: two PNG files, 180 x 256, together under about 75 KB."""

    rgb: bytes
    ir: bytes


class _Pose(msgspec.Struct, frozen=True):
    """How the hand is held: pixels, radians, and factors around 1."""

    shift: tuple[float, float]
    rotation: float
    scale: float
    tilt: float


def capture(palm: Palm, rng: np.random.Generator) -> Capture:
    """A look at a palm that is held about right: within 6 px, 7 degrees and 8 % of size."""
    return _expose(layers(palm), _held_by(rng), rng, defocus=float(rng.uniform(0.3, 0.8)))


def blurred_capture(palm: Palm, rng: np.random.Generator) -> Capture:
    """A look at a palm that moved: the hand is there, its lines are not."""
    return _expose(layers(palm), _held_by(rng), rng, defocus=9.0)


def no_hand(rng: np.random.Generator) -> Capture:
    """A look at nothing: dark background and sensor noise."""
    return Capture(
        rgb=_png(_noisy(np.full((HEIGHT, WIDTH, 3), 8, np.float32), 0.4, rng)),
        ir=_png(_noisy(np.full((HEIGHT, WIDTH), 6, np.float32), 0.4, rng)),
    )


def _held_by(rng: np.random.Generator) -> _Pose:
    return _Pose(
        shift=(float(rng.uniform(-6, 6)), float(rng.uniform(-6, 6))),
        rotation=float(np.deg2rad(rng.uniform(-7, 7))),
        scale=float(rng.uniform(0.92, 1.08)),
        tilt=float(rng.uniform(0.97, 1.03)),
    )


def _expose(seen: Layers, pose: _Pose, rng: np.random.Generator, defocus: float) -> Capture:
    mask, lines, veins = (
        _posed(layer, pose, defocus) for layer in (seen.mask, seen.print_lines, seen.veins)
    )
    skin = _light(rng) * (1 - 0.42 * lines)
    red, green, blue = seen.tone
    colour = np.stack(
        [
            skin * (235 * red * (1 - 0.06 * veins)),
            skin * (235 * green * (1 - 0.03 * veins)),
            skin * (235 * blue * (1 - 0.02 * veins)),
        ],
        axis=-1,
    )
    infrared = 175 * _light(rng) * (1 - 0.34 * veins) * (1 - 0.07 * lines)
    return Capture(
        rgb=_png(_noisy(8 + mask[..., None] * colour, 0.3 + 1.2 * mask[..., None], rng)),
        ir=_png(_noisy(6 + mask * infrared, 0.4 + 1.6 * mask, rng)),
    )


def _posed(layer: Image.Image, pose: _Pose, defocus: float) -> Grey:
    """The layer as the sensor sees it, 0 to 1: the inverse of the pose, pixel by pixel."""
    cos, sin = np.cos(pose.rotation) / pose.scale, np.sin(pose.rotation) / pose.scale
    across, along = CANVAS_SCALE * pose.tilt, CANVAS_SCALE / pose.tilt
    cx, cy = WIDTH / 2, HEIGHT / 2
    a, b, d, e = cos * across, sin * across, -sin * along, cos * along
    x, y = cx + pose.shift[0], cy + pose.shift[1]
    back = (
        a, b, cx * CANVAS_SCALE - a * x - b * y,
        d, e, cy * CANVAS_SCALE - d * x - e * y,
    )  # fmt: skip
    posed = layer.transform(
        (WIDTH, HEIGHT), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR
    )
    return np.asarray(posed.filter(ImageFilter.GaussianBlur(defocus)), np.float32) / 255


def _light(rng: np.random.Generator) -> Grey:
    """A lamp that is never quite in the middle: a slope over the frame, and a level."""
    x = np.linspace(-1, 1, WIDTH)[None, :]
    y = np.linspace(-1, 1, HEIGHT)[:, None]
    level = rng.uniform(0.85, 1.05)
    slope_x, slope_y = rng.uniform(-0.12, 0.12, 2)
    light: Grey = level * (1 + slope_x * x + slope_y * y)
    return light


def _noisy(picture: Grey, sigma: Grey | float, rng: np.random.Generator) -> Grey:
    """With sensor noise: more of it where there is light."""
    noisy: Grey = picture + sigma * rng.standard_normal(picture.shape, dtype=np.float32)
    return noisy


def _png(picture: Grey) -> bytes:
    file = io.BytesIO()
    pixels = np.clip(picture, 0, 255).astype(np.uint8)
    Image.fromarray(pixels).save(file, "PNG", compress_level=_PNG_EFFORT)
    return file.getvalue()
