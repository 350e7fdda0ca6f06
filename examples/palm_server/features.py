"""From a pair of pictures to the numbers that are compared: lines of the skin, and veins.

The hand is found in the infrared picture, and its outline says how it is held (where, how
large, how far turned). A square of the palm is cut out of both pictures in that pose. Lines
and veins are dark ridges: at every pixel the second derivatives of the brightness give the
strength and the direction of the ridge, as a vector of the doubled angle, so that a line has
no head and no tail. That field, levelled by its local strength, is the feature; two palms are
compared by the cosine between their fields.

Coarse features are the field in cells of four pixels, standing for what a device computes;
fine features are cells of two pixels, compared over small shifts.
"""

import io
import struct
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray
from PIL import Image

Floats = NDArray[np.float32]

FRAME: Final = (180, 256)
"""Width and height, in pixels, to which both pictures are brought before anything else."""

SIDE_MIN: Final = 64
PIXELS_MAX: Final = 4_000_000

SHIFTS: Final = tuple((down, right) for down in (-2, 0, 2) for right in (-2, 0, 2))
"""Offsets in region pixels over which a probe is compared."""

_REGION: Final = 64
_RIM: Final = 8
_SHIFT_MAX: Final = 4
_INNER: Final = _REGION - 2 * _SHIFT_MAX
COARSE_SIZE: Final = 2 * (_INNER // 4) ** 2
FINE_SIZE: Final = 2 * (_INNER // 2) ** 2

# The geometry of a hand, in square roots of the area of its outline.
_CENTRE_BELOW: Final = 0.22
_SIDE: Final = 0.66

_CONTRAST_MIN: Final = 40.0
_AREA_LEAST: Final = 0.10
_AREA_MOST: Final = 0.55
_RIM_TOUCHED_MAX: Final = 0.02
_TURN_MAX: Final = float(np.deg2rad(25))
_BRIGHTNESS_MIN: Final = 12.0
_BRIGHTNESS_MAX: Final = 245.0
_SHARPNESS_MIN: Final = 1.0
_STRENGTH_FLOOR: Final = 0.05


class Unreadable(Exception):
    """The bytes are not a PNG that we are willing to decode."""


class LowQuality(Exception):
    """There is no palm to be compared; `hints` say what the person could do about it."""

    def __init__(self, *hints: str) -> None:
        self.hints = hints
        super().__init__(", ".join(hints))


class Features(msgspec.Struct, frozen=True):
    """Unit vectors, coarse `(COARSE_SIZE,)` and fine `(len(SHIFTS), FINE_SIZE)`.

    An enrolled palm has its fine vectors at no shift only, `(1, FINE_SIZE)`.
    """

    coarse_print: Floats
    coarse_vein: Floats
    fine_print: Floats
    fine_vein: Floats


class _Pose(msgspec.Struct, frozen=True):
    """The palm's middle and its square's side in frame pixels, and its turn in radians."""

    x: float
    y: float
    side: float
    turn: float


def to_enrol(rgb: bytes, ir: bytes) -> Features:
    """The features that are kept of a palm. Raises Unreadable or LowQuality."""
    return _features(rgb, ir, ((0, 0),))


def to_search(rgb: bytes, ir: bytes) -> Features:
    """The features to ask with, at every shift. Raises Unreadable or LowQuality."""
    return _features(rgb, ir, SHIFTS)


def _features(rgb: bytes, ir: bytes, shifts: tuple[tuple[int, int], ...]) -> Features:
    colour, infrared = _decode(rgb), _decode(ir)
    pose = _pose(np.asarray(infrared, np.float32))
    skin, blood = _region(colour, pose), _region(infrared, pose)
    if not _BRIGHTNESS_MIN <= float(skin.mean()) <= _BRIGHTNESS_MAX:
        raise LowQuality("lighting")
    print_field, sharpness = _ridges(skin, _PRINT_KERNELS)
    vein_field, _ = _ridges(blood, _VEIN_KERNELS)
    if sharpness < _SHARPNESS_MIN:
        raise LowQuality("blur")
    return Features(
        coarse_print=_coarse(print_field),
        coarse_vein=_coarse(vein_field),
        fine_print=_fine(print_field, shifts),
        fine_vein=_fine(vein_field, shifts),
    )


def _decode(png: bytes) -> Image.Image:
    """The picture in grey, brought to the frame. Its size is read before it is decoded."""
    if len(png) < 33 or png[:8] != b"\x89PNG\r\n\x1a\n" or png[12:16] != b"IHDR":
        raise Unreadable("not a PNG file")
    width, height = struct.unpack(">II", png[16:24])
    if min(width, height) < SIDE_MIN or width * height > PIXELS_MAX:
        raise Unreadable(f"{width} x {height} pixels are not a palm picture")
    try:
        with Image.open(io.BytesIO(png), formats=("PNG",)) as picture:
            grey = picture.convert("L")
    except (OSError, SyntaxError, ValueError) as error:
        raise Unreadable("the PNG file is damaged") from error
    return grey if grey.size == FRAME else grey.resize(FRAME, Image.Resampling.BOX)


def _pose(infrared: Floats) -> _Pose:
    """How the hand is held, from the moments of its outline."""
    low, high = (float(level) for level in np.percentile(infrared[::4, ::4], (2, 98)))
    if high - low < _CONTRAST_MIN:
        raise LowQuality("coverage")
    inside = infrared > low + (high - low) * 0.4
    area = float(inside.sum())
    if not _AREA_LEAST <= area / inside.size <= _AREA_MOST:
        raise LowQuality("distance")
    rim = np.concatenate([inside[0], inside[-1], inside[:, 0], inside[:, -1]])
    if float(rim.mean()) > _RIM_TOUCHED_MAX:
        raise LowQuality("coverage")
    x, y = np.arange(FRAME[0], dtype=np.float64), np.arange(FRAME[1], dtype=np.float64)
    columns, rows = inside.sum(axis=0), inside.sum(axis=1)
    centre_x, centre_y = float(columns @ x) / area, float(rows @ y) / area
    spread_x = float(columns @ (x - centre_x) ** 2) / area
    spread_y = float(rows @ (y - centre_y) ** 2) / area
    together = float((y - centre_y) @ (inside @ (x - centre_x))) / area
    turn = 0.5 * float(np.arctan2(-2 * together, spread_y - spread_x))
    if abs(turn) > _TURN_MAX:
        raise LowQuality("rotation")
    size = area**0.5
    return _Pose(
        x=centre_x - _CENTRE_BELOW * size * float(np.sin(turn)),
        y=centre_y + _CENTRE_BELOW * size * float(np.cos(turn)),
        side=_SIDE * size,
        turn=turn,
    )


def _region(picture: Image.Image, pose: _Pose) -> Floats:
    """The palm's square with a rim around it, upright."""
    size = _REGION + 2 * _RIM
    step = pose.side / _REGION
    cos, sin = step * float(np.cos(pose.turn)), step * float(np.sin(pose.turn))
    middle = size / 2
    back = (
        cos, -sin, pose.x - (cos - sin) * middle,
        sin, cos, pose.y - (sin + cos) * middle,
    )  # fmt: skip
    region = picture.transform(
        (size, size), Image.Transform.AFFINE, back, Image.Resampling.BILINEAR
    )
    return np.asarray(region, np.float32)


def _kernels(sigma: float) -> NDArray[np.complex64]:
    """`Lxx - Lyy` and `2 Lxy` of a Gaussian, in the frequency domain."""
    size = _REGION + 2 * _RIM
    fy = 2 * np.pi * np.fft.fftfreq(size)[:, None]
    fx = 2 * np.pi * np.fft.rfftfreq(size)[None, :]
    gauss = np.exp(-(fx**2 + fy**2) * sigma**2 / 2)
    return np.stack([(fy**2 - fx**2) * gauss, -2 * fx * fy * gauss]).astype(np.complex64)


_PRINT_KERNELS: Final = _kernels(1.3)
_VEIN_KERNELS: Final = _kernels(2.0)


def _ridges(region: Floats, kernels: NDArray[np.complex64]) -> tuple[Floats, float]:
    """The levelled ridge field `(2, _REGION, _REGION)`, and how strong the ridges were."""
    field = np.fft.irfft2(np.fft.rfft2(region) * kernels, s=region.shape).astype(np.float32)
    strength = field[0] ** 2 + field[1] ** 2
    level = np.sqrt(_window_mean(strength, 2 * _RIM + 1) + _STRENGTH_FLOOR)
    levelled: Floats = (field / level).astype(np.float32, copy=False)
    inner = slice(_RIM, -_RIM)
    return levelled[:, inner, inner], float(np.sqrt(strength[inner, inner].mean()))


def _window_mean(field: Floats, width: int) -> Floats:
    """The mean over a square window around every pixel, edges repeated."""
    half = width // 2
    total = np.pad(field, (half + 1, half), mode="edge").cumsum(axis=0).cumsum(axis=1)
    total = total[width:] - total[:-width]
    total = total[:, width:] - total[:, :-width]
    mean: Floats = np.maximum(total / width**2, 0).astype(np.float32)
    return mean


def _coarse(field: Floats) -> Floats:
    inner = field[:, _SHIFT_MAX:-_SHIFT_MAX, _SHIFT_MAX:-_SHIFT_MAX]
    cells = _INNER // 4
    return _unit(inner.reshape(2, cells, 4, cells, 4).mean(axis=(2, 4)).reshape(-1))


def _fine(field: Floats, shifts: tuple[tuple[int, int], ...]) -> Floats:
    fours = field[:, :-1, :-1] + field[:, 1:, :-1] + field[:, :-1, 1:] + field[:, 1:, 1:]
    vectors = [
        fours[:, top : top + _INNER : 2, left : left + _INNER : 2].reshape(-1)
        for top, left in ((_SHIFT_MAX + down, _SHIFT_MAX + right) for down, right in shifts)
    ]
    return _unit(np.stack(vectors))


def _unit(vectors: Floats) -> Floats:
    length = np.linalg.norm(vectors, axis=-1, keepdims=True)
    unit: Floats = (vectors / np.maximum(length, 1e-6)).astype(np.float32)
    return unit
