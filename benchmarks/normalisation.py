"""Normalisation of simulated studies, side by side with SimpleITK and ANTsPy where they are installed.

    python benchmarks/normalisation.py --studies 44 --starts 500 --detection 110

prints Markdown: landmark errors and seconds by method and group, failures from bad starts, and how many failures are
detected. All methods get the same studies and the same template and run on one thread; see `peers` for their settings.
"""

from __future__ import annotations

import argparse
import platform
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
from failures import detection_rows, judged_results
from landmarks import error_mm, landmarks
from peers import Method, available_peers
from posed_heads import GROUPS, Group, PosedHead, posed_head
from scipy.spatial.transform import Rotation

from datbatch import __version__
from datbatch.imaging import Volume, load_template, register_affine
from datbatch.imaging.registration.reliability import FAILED_BRAIN_MM, FAILED_STRIATAL_MM

CUT: tuple[Group, ...] = ("cut, top", "cut, base")
PIVOT_MM = np.array([0.0, -17.0, 0.0])
_Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Result:
    """What one method made of one study."""

    group: Group
    striatal_mm: float
    brain_mm: float
    seconds: float

    @property
    def failed(self) -> bool:
        return self.brain_mm > FAILED_BRAIN_MM or self.striatal_mm > FAILED_STRIATAL_MM


def ours(study: Volume, template: Volume) -> _Array:
    return register_affine(study, template).template_to_study


def measured(method: Method, heads: Sequence[PosedHead], template: Volume) -> list[Result]:
    """Run a method over all studies; smoothing counts as part of it."""
    points, found = landmarks(), []
    for head in heads:
        start = time.perf_counter()
        affine = method(head.volume, template)
        seconds = time.perf_counter() - start
        striatal, brain = (error_mm(affine, head.template_to_study, points[name]) for name in ("striatal", "brain"))
        found.append(Result(head.group, striatal, brain, seconds))
    return found


def accuracy_rows(results: dict[str, list[Result]]) -> Iterator[str]:
    groups = list(dict.fromkeys(r.group for r in results["datbatch"]))
    rows: dict[str, list[Group]] = {
        "all": groups,
        "field of view not cut": [group for group in groups if group not in CUT],
        "field of view cut": [group for group in groups if group in CUT],
        **{group: [group] for group in groups},
    }
    for row, members in rows.items():
        for name, found in results.items():
            chosen = [r for r in found if r.group in members]
            if chosen:
                cells = [row, str(len(chosen)), name]
                for errors in ([r.striatal_mm for r in chosen], [r.brain_mm for r in chosen]):
                    cells.append(f"{np.mean(errors):.2f} ({np.percentile(errors, 95):.2f})")
                yield "| " + " | ".join([*cells, str(sum(r.failed for r in chosen))]) + " |"


def bad_starts(heads: Sequence[PosedHead], template: Volume, starts: int, most_deg: float, most_mm: float) -> str:
    """Turn and shift studies before they are registered; gives the number of failures and of those not noticed."""
    rng, points = np.random.default_rng(0), landmarks()
    still = [head for head in heads if head.group != "motion"]  # a head that moved has no one true pose
    failures = unnoticed = alarms = 0
    for number in range(starts):
        head = still[number % len(still)]
        off = np.eye(4)
        axis, direction = rng.normal(size=3), rng.normal(size=3)
        turn = np.radians(rng.uniform(0, most_deg)) * axis / np.linalg.norm(axis)
        off[:3, :3] = Rotation.from_rotvec(turn).as_matrix()
        middle = (head.template_to_study @ np.append(PIVOT_MM, 1.0))[:3]
        shift = rng.uniform(0, most_mm) * direction / np.linalg.norm(direction)
        off[:3, 3] = middle - off[:3, :3] @ middle + shift
        volume = head.volume
        found = register_affine(Volume(volume.data, off @ volume.affine), template)
        true = off @ head.template_to_study
        brain, striatal = (error_mm(found.template_to_study, true, points[name]) for name in ("brain", "striatal"))
        wrong = brain > FAILED_BRAIN_MM or striatal > FAILED_STRIATAL_MM
        failures += wrong
        unnoticed += wrong and not found.failed
        alarms += found.failed and not wrong
    return f"{failures} of {starts} ({unnoticed} of them unnoticed, {alarms} false alarms)"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--studies", type=int, default=44, help="of all groups in turn")
    parser.add_argument("--seed", type=int, default=7)
    parser.add_argument("--starts", type=int, default=500)
    parser.add_argument("--turn-deg", type=float, default=60.0, help="largest turn of a bad start")
    parser.add_argument("--shift-mm", type=float, default=40.0, help="largest shift of a bad start")
    parser.add_argument("--detection", type=int, default=110, help="studies for the detection of failures")
    parser.add_argument("--no-peers", action="store_true")
    options = parser.parse_args()
    template = load_template()
    heads = [posed_head(GROUPS[i % len(GROUPS)], i // len(GROUPS), options.seed) for i in range(options.studies)]
    results: dict[str, list[Result]] = {}
    if heads:
        ours(heads[0].volume, template)  # compiles, where no earlier run has
        results["datbatch"] = measured(ours, heads, template)
        for name, method in ({} if options.no_peers else available_peers()).items():
            results[name] = measured(method, heads, template)
    print(f"datbatch {__version__}, Python {platform.python_version()}, {time.strftime('%Y-%m-%d')}\n")
    if results:
        print("Landmark error in mm, mean (95th percentile), and failures "
              f"(brain > {FAILED_BRAIN_MM:g} mm or striatal > {FAILED_STRIATAL_MM:g} mm)\n")  # fmt: skip
        print("| group | n | method | striatal | brain | failures |\n|---|---|---|---|---|---|")
        print("\n".join(accuracy_rows(results)))
        print("\n| method, one thread | seconds a study | ratio |\n|---|---|---|")
        fastest = np.mean([r.seconds for r in results["datbatch"]])
        for name, found in results.items():
            seconds = np.mean([r.seconds for r in found])
            print(f"| {name} | {seconds:.2f} | {seconds / fastest:.0f} |")
    print("\n| figure | value |\n|---|---|")
    if heads and options.starts:
        label = f"failures from starts within {options.turn_deg:g} degrees and {options.shift_mm:g} mm"
        print(f"| {label} | {bad_starts(heads, template, options.starts, options.turn_deg, options.shift_mm)} |")
    if options.detection:
        for name, value in detection_rows(judged_results(options.detection, options.seed)):
            print(f"| {name} | {value} |")


if __name__ == "__main__":
    main()
