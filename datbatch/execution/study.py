"""One study through everything, in memory: no store, no cluster."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from datbatch.archive.codes import explain_code
from datbatch.cohort import schema
from datbatch.config import Config
from datbatch.errors import by_code
from datbatch.execution.model_task import ExplainedVolume, explain_volumes, load_model_once
from datbatch.execution.space import configured_space, model_space
from datbatch.execution.stages import image_study
from datbatch.imaging import Binding


@dataclass(frozen=True)
class StudyExplanation(ExplainedVolume):
    """Everything about one study.

    Attributes
    ----------
    uptake : ndarray, shape (x, y, z), float32
        Normalised to MNI, scaled to the reference region, ipsilateral side left (x < 0); `schema.grid_affine()`.
    relevance : ndarray, shape (x, y, z), float32
        Layer-wise relevance of each voxel, on the same grid.
    mirrored : bool
        Whether left and right were exchanged: if so, ipsilateral is the patient's right side.
    specific_binding_ratio : ndarray, shape (region,), float64
        In the order of `schema.REGIONS`.
    binding : Binding
        Binding ratios by all definitions and backgrounds, asymmetry indices, putamen-to-caudate ratios.
    quantification_flags : tuple of str
        Codes of what was unusual about them; `explain_code` tells their meaning.
    regional : ndarray, shape (region, statistic), float64
        Of relevance, in the order of `schema.REGIONS` and `schema.STATISTICS`.
    probability, log_odds : float
        Of the positive class (reduced uptake).
    predicted : str
        negative or positive.
    inconsistent : bool
        Whether the map is typical of the class that was not predicted.
    orientation : int
        +1 or -1: relevance times it speaks for reduced uptake where it is positive.
    template_to_study : ndarray, shape (4, 4), float64
        MNI mm to study mm, RAS.
    quality : dict of str to float
        Scores of the normalisation.
    counts : float
        Sum of the projections.
    motion_mm : float
        Largest distance between two positions of the head during the acquisition; NaN where not known.
    flags : tuple of str
        Codes of what was unusual.
    seconds : dict of str to float
        Wall time by step.
    """

    uptake: npt.NDArray[np.float32]
    mirrored: bool
    specific_binding_ratio: npt.NDArray[np.float64]
    binding: Binding
    quantification_flags: tuple[str, ...]
    template_to_study: npt.NDArray[np.float64]
    quality: dict[str, float]
    counts: float
    motion_mm: float
    flags: tuple[str, ...]
    seconds: dict[str, float]

    def side(self, region: str) -> str:
        """Say which of the patient's sides `ipsilateral` or `contralateral` of a region's name is."""
        if region.endswith("ipsilateral"):
            return "right" if self.mirrored else "left"
        if region.endswith("contralateral"):
            return "left" if self.mirrored else "right"
        return ""

    def summary(self) -> dict[str, Any]:
        """Give the figures without the volumes, in JSON types."""
        return {
            "predicted": self.predicted,
            "probability_positive": self.probability,
            "log_odds": self.log_odds,
            "inconsistent": self.inconsistent,
            "orientation": self.orientation,
            "mirrored": self.mirrored,
            "counts": self.counts,
            "motion_mm": _number(self.motion_mm),
            "flags": list(self.flags),
            "regions": {
                name: {
                    "side": self.side(name),
                    "specific_binding_ratio": _number(self.specific_binding_ratio[index]),
                    "relevance": {
                        statistic: _number(self.regional[index, position])
                        for position, statistic in enumerate(schema.STATISTICS)
                    },
                }
                for index, name in enumerate(schema.REGIONS)
            },
            "binding": {
                definition: {
                    "binding_ratio": {
                        background: _numbers(schema.STRIATAL, self.binding.binding_ratio[index, position])
                        for position, background in enumerate(schema.BACKGROUNDS)
                    },
                    "asymmetry_index": _numbers(schema.STRUCTURES, self.binding.asymmetry_index[index]),
                    "putamen_to_caudate_ratio": _numbers(schema.SIDES, self.binding.putamen_to_caudate_ratio[index]),
                }
                for index, definition in enumerate(schema.DEFINITIONS)
            },
            "quantification_flags": list(self.quantification_flags),
            "quality": self.quality,
            "seconds": self.seconds,
        }

    def text(self) -> str:
        """Describe the study in a few lines."""
        words = {schema.NEGATIVE: "normal uptake", schema.POSITIVE: "reduced uptake"}
        lines = [
            f"{self.predicted} ({words[self.predicted]}), probability of positive {self.probability:.3f}"
            + (", relevance map inconsistent: typical of the other class" if self.inconsistent else ""),
            f"{'region':<24} {'side':<6} {'SBR':>6} {'relevance':>10}  (positive speaks for reduced uptake)",
        ]
        hottest = schema.STATISTICS.index("hottest_mean")
        for index, name in enumerate(schema.REGIONS[:4]):
            binding = self.specific_binding_ratio[index]
            relevance = self.orientation * self.regional[index, hottest]
            lines.append(f"{name:<24} {self.side(name):<6} {binding:>6.2f} {relevance:>10.3g}")
        lines += self._binding_lines()
        lines.append(", ".join(f"{name} {value:.2f}" for name, value in self.quality.items()))
        motion = f"motion {self.motion_mm:.1f} mm" if np.isfinite(self.motion_mm) else "motion not known"
        lines.append(f"{motion}, flags: {', '.join(self.flags) or 'none'}")
        return "\n".join(lines)

    def _binding_lines(self) -> list[str]:
        """Show the definitions of binding side by side, with the asymmetry, against the reference region."""
        width = 1 + max(len(name) for name in schema.DEFINITIONS)
        lines = [f"{'SBR by definition':<24} {'side':<6}" + "".join(f"{name:>{width}}" for name in schema.DEFINITIONS)]
        for index, name in enumerate(schema.STRIATAL):
            if not name.startswith("caudate"):
                lines.append(
                    f"{name:<24} {self.side(name):<6}" + _cells(self.binding.binding_ratio[:, 0, index], width, ".2f")
                )
        for index, name in enumerate(schema.STRUCTURES):
            if name != "caudate":
                cells = _cells(self.binding.asymmetry_index[:, index], width, ".0f")
                lines.append(f"{f'asymmetry of {name}, %':<31}{cells}")
        lines += [f"{code}: {explain_code(code)[0]}" for code in self.quantification_flags]
        return lines


def explain_study(paths: Sequence[str | Path], model: str | Path, *, config: Config | None = None) -> StudyExplanation:
    """Take one study's raw DICOM files through everything.

    Parameters
    ----------
    paths : sequence of str or Path
        The study's DICOM files.
    model : str or Path
        Folder of a trained model.
    config : Config, optional
        Imaging parameters and start of relevance; those that the model was trained with by default.

    Returns
    -------
    StudyExplanation

    Raises
    ------
    DatbatchError
        The named kind for what is wrong with the study or the model.
    """
    loaded = load_model_once(Path(model))
    if config is None:
        config = Config.from_dict(loaded.card.config)
        space = model_space(Path(model), config)
    else:
        space = configured_space(config)
    imaged = image_study("study", [Path(path) for path in paths], config, space=space)
    last = imaged.rows["quantify"]
    if imaged.uptake is None:
        raise by_code()[last.code](last.reason)
    explained = explain_volumes([imaged.uptake], loaded, config.explain, space.atlas)[0]
    acquired, registered, quantified = imaged.rows["reconstruct"].values, imaged.rows["register"].values, last.values
    motion_mm = acquired["motion_mm"]
    return StudyExplanation(
        **vars(explained),
        uptake=imaged.uptake,
        mirrored=quantified["mirrored"],
        specific_binding_ratio=np.array(quantified["specific_binding_ratio"], dtype=np.float64),
        binding=Binding(
            *(
                np.array(quantified[name], dtype=np.float64)
                for name in ("binding_ratio", "asymmetry_index", "putamen_to_caudate_ratio")
            )
        ),
        quantification_flags=tuple(quantified["quantification_flags"].split()),
        template_to_study=np.asarray(registered["template_to_study"], dtype=np.float64),
        quality={k.removeprefix("quality_"): v for k, v in registered.items() if k.startswith("quality_")},
        counts=acquired["counts"],
        motion_mm=np.nan if motion_mm is None else motion_mm,
        flags=tuple(acquired["flags"].split()),
        seconds=imaged.seconds,
    )


def _cells(values: npt.NDArray[np.float64], width: int, form: str) -> str:
    """Write one line of a table, a dash where there is no value."""
    return "".join(f"{format(value, form) if np.isfinite(value) else '-':>{width}}" for value in values)


def _numbers(names: Sequence[str], values: npt.NDArray[np.float64]) -> dict[str, float | None]:
    return {name: _number(value) for name, value in zip(names, values, strict=True)}


def _number(value: float) -> float | None:
    return float(value) if np.isfinite(value) else None
