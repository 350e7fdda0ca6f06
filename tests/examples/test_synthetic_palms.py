"""Drawn palms are the same for the same numbers, and never twice the same otherwise."""

import io

import numpy as np
import pytest
from numpy.typing import NDArray
from PIL import Image

from examples.synthetic_palms import Capture, Palm, blurred_capture, capture, no_hand

RIGHT = Palm(7, "right")


def look(palm: Palm, seed: int) -> Capture:
    return capture(palm, np.random.default_rng(seed))


def pixels(png: bytes) -> NDArray[np.float64]:
    with Image.open(io.BytesIO(png)) as picture:
        return np.asarray(picture, np.float64)


def test_a_capture_is_a_colour_and_an_infrared_picture_of_one_size() -> None:
    seen = look(RIGHT, 1)
    assert (pixels(seen.rgb).shape, pixels(seen.ir).shape) == ((256, 180, 3), (256, 180))


def test_the_same_palm_and_the_same_generator_give_the_same_bytes() -> None:
    assert look(RIGHT, 1) == look(Palm(7, "right"), 1)


def test_two_looks_at_one_palm_are_never_the_same_bytes() -> None:
    seen = {look(RIGHT, seed).rgb for seed in range(5)}
    assert len(seen) == 5


def test_two_hands_and_two_people_are_drawn_differently_in_the_same_pose() -> None:
    mine = pixels(look(RIGHT, 1).ir)
    again = pixels(look(RIGHT, 1).ir)
    left = pixels(look(Palm(7, "left"), 1).ir)
    other = pixels(look(Palm(8, "right"), 1).ir)
    assert np.abs(mine - again).mean() == 0
    assert np.abs(mine - left).mean() > 5
    assert np.abs(mine - other).mean() > 5


def test_the_infrared_picture_shows_what_the_colour_one_does_not() -> None:
    seen = look(RIGHT, 1)
    palm = (slice(140, 200), slice(70, 110))
    colour = pixels(seen.rgb)[palm].mean(axis=-1).ravel()
    assert abs(np.corrcoef(colour, pixels(seen.ir)[palm].ravel())[0, 1]) < 0.5


@pytest.mark.parametrize("person", range(6))
def test_both_pictures_in_base64_stay_small_enough_to_post(person: int) -> None:
    seen = look(Palm(person, "left"), person)
    assert (len(seen.rgb) + len(seen.ir)) * 4 / 3 < 110_000


def test_a_blurred_capture_has_a_hand_and_no_lines() -> None:
    sharp, blurred = (
        pixels(draw(RIGHT, np.random.default_rng(2)).rgb)[150:190, 75:110, 0]
        for draw in (capture, blurred_capture)
    )
    assert blurred.mean() > 60
    steps = [np.abs(picture[:, 3:] - picture[:, :-3]).mean() for picture in (sharp, blurred)]
    assert steps[1] < steps[0] / 2


def test_without_a_hand_the_pictures_are_dark() -> None:
    seen = no_hand(np.random.default_rng(3))
    assert pixels(seen.rgb).max() < 20
    assert pixels(seen.ir).max() < 20
