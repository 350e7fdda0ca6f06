"""What a palm is to every aggregate that speaks of one."""

from typing import Literal

Hand = Literal["left", "right"]
"""Whose two palms a person can enrol, one of each."""

PalmRemovalReason = Literal["requested", "replaced", "consent_withdrawn", "erasure"]
"""Why a palm that worked is taken away: somebody asked for it, another of the same hand takes its
place, the person no longer agrees, or the person is erased."""
