"""Measures how often the reference matcher errs on synthetic palms, at its own thresholds.

`python -m examples.palm_server.measure --people 200` enrols both hands of everybody from one
capture and asks with three others; and asks with the palms of as many strangers.
"""

import argparse
import json
import tempfile
import time
from pathlib import Path
from typing import Final

import msgspec
import numpy as np
from numpy.typing import NDArray

from examples.palm_server import features
from examples.palm_server.gallery import Gallery
from examples.palm_server.protocol import THRESHOLDS
from examples.synthetic_palms import Capture, Palm, capture

CAPTURES: Final = 3
HANDS: Final = ("left", "right")

Numbers = NDArray[np.float64]


class Rates(msgspec.Struct):
    """Comparisons one against one, and searches one against all, at the shipped thresholds.

    FMR and FNMR are of comparisons, FPIR and FNIR of searches (ISO/IEC 19795-1).
    """

    palms_enrolled: int
    genuine_comparisons: int
    impostor_comparisons: int
    false_non_matches: int
    false_matches: int
    fnmr: float
    fmr: float
    fmr_at_95_percent_confidence_below: float
    searches_of_enrolled: int
    searches_of_strangers: int
    fnir: float
    fpir: float
    genuine_scores_lowest_1_percent: list[float]
    impostor_scores_highest_1_in_10_000: list[float]
    extract_cpu_ms: float
    search_cpu_ms: float


def measure(people: int, seed: int, directory: Path) -> Rates:
    """Enrol, compare and search. The same numbers give the same rates."""
    palms = [Palm(person, hand) for person in range(people) for hand in HANDS]
    strangers = [Palm(people + person, hand) for person in range(people) for hand in HANDS]
    gallery = Gallery(directory)
    enrolled: list[features.Features] = []
    for index, palm in enumerate(palms):
        first = capture(palm, np.random.default_rng([seed, index, 0]))
        enrolled.append(features.to_enrol(first.rgb, first.ir))
        gallery.add(f"measure.{index}", palm.hand, enrolled[-1])
    probes = [
        (index, capture(palm, np.random.default_rng([seed, index, look])))
        for index, palm in enumerate(palms)
        for look in range(1, CAPTURES + 1)
    ]
    foreign = [
        (-1, capture(palm, np.random.default_rng([seed, index, 0])))
        for index, palm in enumerate(strangers, start=len(palms))
    ]
    return _rates(gallery, enrolled, probes, foreign)


def _rates(
    gallery: Gallery,
    enrolled: list[features.Features],
    probes: list[tuple[int, Capture]],
    foreign: list[tuple[int, Capture]],
) -> Rates:
    least = np.array(THRESHOLDS)
    genuine: list[Numbers] = []
    impostor: list[Numbers] = []
    missed = wrongly_found = 0
    extracting = searching = 0.0
    matrices = _matrices(enrolled)
    for index, seen in probes + foreign:
        began = time.process_time()
        probe = features.to_search(seen.rgb, seen.ir)
        extracted = time.process_time()
        found = gallery.search(probe, group="measure", hand=None, top_k=1)
        searching += time.process_time() - extracted
        extracting += extracted - began
        accepted = bool(found) and bool(np.all(np.array(found[0].scores) >= least))
        right = accepted and found[0].user_id == f"measure.{index}"
        missed += index >= 0 and not right
        wrongly_found += index < 0 and accepted
        scores = _against_all(matrices, probe)
        if index >= 0:
            genuine.append(scores[index])
            impostor.append(np.delete(scores, index, axis=0))
    same, other = np.stack(genuine), np.concatenate(impostor)
    false_non_matches = int((~np.all(same >= least, axis=1)).sum())
    false_matches = int(np.all(other >= least, axis=1).sum())
    looks = len(probes) + len(foreign)
    return Rates(
        palms_enrolled=len(enrolled),
        genuine_comparisons=len(same),
        impostor_comparisons=len(other),
        false_non_matches=false_non_matches,
        false_matches=false_matches,
        fnmr=false_non_matches / len(same),
        fmr=false_matches / len(other),
        fmr_at_95_percent_confidence_below=_upper(false_matches) / len(other),
        searches_of_enrolled=len(probes),
        searches_of_strangers=len(foreign),
        fnir=missed / len(probes),
        fpir=wrongly_found / len(foreign),
        genuine_scores_lowest_1_percent=_rounded(np.percentile(same, 1, axis=0)),
        impostor_scores_highest_1_in_10_000=_rounded(np.percentile(other, 99.99, axis=0)),
        extract_cpu_ms=round(1000 * extracting / looks, 2),
        search_cpu_ms=round(1000 * searching / looks, 2),
    )


def _matrices(enrolled: list[features.Features]) -> list[features.Floats]:
    return [
        np.stack([each.coarse_print for each in enrolled]),
        np.stack([each.coarse_vein for each in enrolled]),
        np.concatenate([each.fine_print for each in enrolled]),
        np.concatenate([each.fine_vein for each in enrolled]),
    ]


def _against_all(matrices: list[features.Floats], probe: features.Features) -> Numbers:
    """Four scores against every enrolled palm, `(palms, 4)`, as the gallery computes them."""
    fine_print = matrices[2] @ probe.fine_print.T
    fine_vein = matrices[3] @ probe.fine_vein.T
    rows = np.arange(len(fine_print))
    shift = np.argmax(fine_print + fine_vein, axis=1)
    columns = [
        matrices[0] @ probe.coarse_print,
        matrices[1] @ probe.coarse_vein,
        fine_print[rows, shift],
        fine_vein[rows, shift],
    ]
    return np.stack(columns, axis=1).astype(np.float64)


def _upper(events: int) -> float:
    """About the 95 % upper limit of a Poisson mean after so many events: 3 after none."""
    return 3.0 if events == 0 else events + 1.645 * float(np.sqrt(events)) + 1.35


def _rounded(numbers: Numbers) -> list[float]:
    return [round(float(number), 3) for number in numbers]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m examples.palm_server.measure")
    parser.add_argument("--people", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    chosen = parser.parse_args()
    with tempfile.TemporaryDirectory() as directory:
        rates = measure(chosen.people, chosen.seed, Path(directory))
    print(json.dumps(msgspec.to_builtins(rates), indent=2))


if __name__ == "__main__":
    main()
