"""All that is known of one study after the last stage; needs neither torch nor a store."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.archive import Acquisition
from datbatch.archive.codes import explain_code
from datbatch.arrays import Floats, Floats32
from datbatch.evaluation.estimates import as_json
from datbatch.imaging import Atlas, Binding
from datbatch.norms import WARNINGS
from datbatch.study.comparison import Comparison

SIDE_UNCERTAIN = "which side is the lower one is not certain: counting noise can explain the difference."
_WIDTH = 1 + max(map(len, schema.DEFINITIONS))
"""Of a definition's column."""
MEANINGS = {schema.NEGATIVE: "normal uptake", schema.POSITIVE: "reduced uptake"}
"""The classes in words."""


@dataclass(frozen=True)
class ExplainedVolume:
    """Inference and relevance of one study."""

    relevance: Floats32
    """Shape (x, y, z). Layer-wise relevance of each voxel, on the grid of the uptake."""
    regional: Floats
    """Shape (region, statistic). Of relevance, in the order of `schema.REGIONS` and `schema.STATISTICS`."""
    probability: float
    """Of the positive class (reduced uptake), as the network gives it; `log_odds` likewise."""
    log_odds: float
    predicted: str
    """negative or positive."""
    inconsistent: bool
    """Whether the map is typical of the class that was not predicted."""
    orientation: int
    """+1 or -1: times this factor, positive relevance speaks for reduced uptake."""


@dataclass(frozen=True)
class StudyExplanation(ExplainedVolume):
    """Everything about one study."""

    uptake: Floats32
    """Shape (x, y, z). Normalised to MNI, scaled to the reference region, ipsilateral side left (x < 0);
    `schema.grid_affine()`."""
    mirrored: bool
    """Whether left and right were exchanged: if so, ipsilateral is the patient's right side."""
    lower_side: str
    """The patient's side of lower putaminal binding: left, right, or uncertain (counting noise can explain it)."""
    specific_binding_ratio: Floats
    """Shape (region,). In the order of `schema.REGIONS`."""
    binding: Binding
    """Binding ratios by all definitions and backgrounds, asymmetry indices, putamen-to-caudate ratios."""
    quantification_flags: tuple[str, ...]
    """Codes of what was unusual about them; `explain_code` tells their meaning."""
    template_to_study: Floats
    """Shape (4, 4). MNI mm to study mm, RAS."""
    quality: dict[str, float]
    """Scores of the normalisation."""
    counts: float
    """Sum of the projections."""
    motion_mm: float
    """Largest distance between two positions of the head during the acquisition; NaN where not known."""
    flags: tuple[str, ...]
    """Codes of what was unusual."""
    comparison: Comparison | None
    """Every measure of binding against the cohort's normal range."""
    not_compared: str
    """Why there is no comparison, and what to do; empty where there is one."""
    calibrated_probability: float
    """Probability of the positive class that agrees with frequencies on validation data; NaN without an evaluation."""
    certain: bool | None
    """Whether the decision lies beyond the margin of a certain call; None where that is not known."""
    not_judged: str
    """Why it is not known, and what to do; empty where it is."""
    uncertain_share: float
    """Share of validation studies that the model calls uncertain; NaN where that is not known."""
    model: str
    """Name of the model's folder."""
    weights_sha256: str
    """Digest of its weights."""
    atlas: Atlas
    """Regions that all figures are of, in the frame of the volumes."""
    seconds: dict[str, float]
    """Wall time by step."""
    acquired: Mapping[str, Any] = field(default_factory=dict)
    """What the stage `reconstruct` says of the acquisition: scanner, views, sizes, motion, counts by angle."""
    stages: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)
    """By stage: digest, version and parameters, as in the store's attribute `stages`."""
    projections: Acquisition | None = None
    """The raw projections, where known."""
    study: str = ""
    """Pseudonym; empty for a study that is in no store."""
    simulated: bool = False
    """Whether it was simulated."""
    source: str = schema.PROJECTIONS
    """What it was read from: projections, or a tomogram (its reconstruction and counts are not known)."""

    def side(self, region: str) -> str:
        """Say which of the patient's sides `ipsilateral` or `contralateral` of a region's name is."""
        if region.endswith("ipsilateral"):
            return "right" if self.mirrored else "left"
        if region.endswith("contralateral"):
            return "left" if self.mirrored else "right"
        return ""

    def summary(self) -> dict[str, Any]:
        """Give the figures without the volumes, in JSON types."""
        found = {
            "predicted": self.predicted,
            "probability_positive": self.probability,
            "log_odds": self.log_odds,
            "calibrated_probability_positive": self.calibrated_probability,
            "certain": self.certain,
            "not_judged": self.not_judged,
            "uncertain_share": self.uncertain_share,
            "model": self.model,
            "weights_sha256": self.weights_sha256,
            "inconsistent": self.inconsistent,
            "orientation": self.orientation,
            "mirrored": self.mirrored,
            "lower_side": self.lower_side,
            "source": self.source,
            "counts": self.counts,
            "motion_mm": self.motion_mm,
            "flags": self.flags,
            "regions": {
                name: {
                    "side": self.side(name),
                    "specific_binding_ratio": self.specific_binding_ratio[index],
                    "relevance": dict(zip(schema.STATISTICS, self.regional[index], strict=True)),
                }
                for index, name in enumerate(schema.REGIONS)
            },
            "binding": {
                definition: {
                    "binding_ratio": {name: self.binding.ratio(definition, name) for name in schema.BACKGROUNDS},
                    "asymmetry_index": dict(zip(schema.STRUCTURES, asymmetry, strict=True)),
                    "putamen_to_caudate_ratio": dict(zip(schema.SIDES, ratio, strict=True)),
                }
                for definition, asymmetry, ratio in zip(
                    schema.DEFINITIONS, self.binding.asymmetry_index, self.binding.putamen_to_caudate_ratio, strict=True
                )
            },
            "quantification_flags": self.quantification_flags,
            "normal_range": self.comparison.to_dict() if self.comparison is not None else None,
            "not_compared": self.not_compared,
            "quality": self.quality,
            "seconds": self.seconds,
        }
        plain: dict[str, Any] = as_json(found)
        return plain

    def text(self) -> str:
        """Describe the study in a few lines."""
        lines = [
            f"{self.predicted} ({MEANINGS[self.predicted]}), {self.confidence()}"
            + (", relevance map inconsistent: typical of the other class" if self.inconsistent else ""),
            *([f"not known whether certain: {self.not_judged}"] if self.certain is None else []),
            f"{'region':<24} {'side':<6} {'SBR':>6} {'relevance':>10}  (positive speaks for reduced uptake)",
        ]
        hottest = schema.STATISTICS.index(schema.HOTTEST_MEAN)
        for index, name in enumerate(schema.REGIONS[:4]):
            binding = self.specific_binding_ratio[index]
            relevance = self.orientation * self.regional[index, hottest]
            lines.append(f"{name:<24} {self.side(name):<6} {binding:>6.2f} {relevance:>10.3g}")
        if self.lower_side == schema.UNCERTAIN:
            lines.append(SIDE_UNCERTAIN.capitalize())
        lines += self._binding_lines() + self._normal_lines()
        lines.append(", ".join(f"{name} {value:.2f}" for name, value in self.quality.items()))
        motion = f"motion {self.motion_mm:.1f} mm" if np.isfinite(self.motion_mm) else "motion not known"
        lines.append(f"{motion}, flags: {', '.join(self.flags) or 'none'}")
        return "\n".join(lines)

    def confidence(self) -> str:
        """Say how probable and how certain the decision is."""
        if np.isfinite(self.calibrated_probability):
            words = f"calibrated probability of positive {self.calibrated_probability:.3f}"
        else:
            words = f"probability of positive {self.probability:.3f} (not calibrated)"
        if self.certain is None:
            return f"{words}, certain or not is not known"
        return f"{words}, {'certain' if self.certain else 'uncertain'}"

    def _normal_lines(self) -> list[str]:
        """Show the distance of each binding ratio from what is normal."""
        if self.comparison is None:
            return [f"no comparison with normal studies: {self.not_compared}"]
        lines = [_heading("z-score by definition")]
        for name in schema.STRIATAL:
            z = np.array([self.comparison.of(f"{definition} {name}")[-1] for definition in schema.DEFINITIONS])
            lines.append(f"{name:<24} {self.side(name):<6}" + _cells(z, "+.1f"))
        return lines + [f"{code}: {WARNINGS[code]}" for code in self.comparison.warnings]

    def _binding_lines(self) -> list[str]:
        """Show the definitions of binding side by side, with the asymmetry, against the reference region."""
        lines = [_heading("SBR by definition")]
        for index, name in enumerate(schema.STRIATAL):
            if not name.startswith("caudate"):
                cells = _cells(self.binding.binding_ratio[:, 0, index], ".2f")
                lines.append(f"{name:<24} {self.side(name):<6}{cells}")
        for index, name in enumerate(schema.STRUCTURES):
            if name != "caudate":
                cells = _cells(self.binding.asymmetry_index[:, index], ".0f")
                lines.append(f"{f'asymmetry of {name}, %':<31}{cells}")
        return lines + [f"{code}: {explain_code(code)[0]}" for code in self.quantification_flags]


def _heading(title: str) -> str:
    return f"{title:<24} {'side':<6}" + "".join(f"{name:>{_WIDTH}}" for name in schema.DEFINITIONS)


def _cells(values: Floats, form: str) -> str:
    """Write one line of a table, a dash where there is no value."""
    return "".join(f"{format(value, form) if np.isfinite(value) else '-':>{_WIDTH}}" for value in values)
