"""Draws palms that do not exist: one RGB and one infrared picture per capture.

`Palm(person, hand)` is an invented palm, always the same one for the same numbers. `capture`
is one look at it by a sensor: another pose, another light, other noise each time, all of it
drawn from the generator that the caller hands in, so that a capture can be repeated.
"""

from examples.synthetic_palms.anatomy import Palm
from examples.synthetic_palms.camera import Capture, blurred_capture, capture, no_hand

__all__ = ["Capture", "Palm", "blurred_capture", "capture", "no_hand"]
