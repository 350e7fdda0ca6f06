"""What a palm is to every aggregate that speaks of one."""

from typing import Literal

Hand = Literal["left", "right"]
"""Whose two palms a person can enrol, one of each."""
