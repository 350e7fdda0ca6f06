"""What a lane does when the product does not answer, and in which ways it may fail (004 §10.6)."""

from typing import Final, Literal, get_args

FailMode = Literal["closed", "open"]
"""`closed`: nobody passes without the product's word. `open`: within a budget, they do."""

FailureClass = Literal["authorize_timeout", "connect_error", "product_5xx", "product_malformed"]
"""How a product fails, in the words of a transaction's reasons. A 4xx is an answer, no failure."""

FAILURE_CLASSES: Final[tuple[FailureClass, ...]] = get_args(FailureClass)
