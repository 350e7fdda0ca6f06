"""What a lane does when the product does not answer (004 §10.6)."""

from typing import Literal

FailMode = Literal["closed", "open"]
"""`closed`: nobody passes without the product's word. `open`: within a budget, they do."""
