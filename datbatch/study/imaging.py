"""The stages: what each depends on, the digest that says whether its results still hold, and one study through them.

Pure functions of files and parameters; the same ones run in one process, on a local cluster, and on a supercomputer.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np

from datbatch import schema
from datbatch.archive import Acquisition, Tomogram, read_study, read_tomogram
from datbatch.cohort.ledger import Row
from datbatch.config import Config, QuantifyConfig, digest
from datbatch.errors import DONE, DatbatchError, InternalError, MemoryExceededError, NormalisationError, Outcome
from datbatch.evaluation.estimates import as_json
from datbatch.imaging import (
    WITHOUT_FIGURE,
    ProjectionQuality,
    Quantification,
    Registration,
    Volume,
    assess_projections,
    beyond_limits,
    normal_side_ratio,
    quantify,
    reconstruct,
    register_affine,
    resample,
)
from datbatch.location import Location
from datbatch.study.imaged import ImagedStudy
from datbatch.study.space import Space, atlas_digest, configured_space, template_digest


@dataclass(frozen=True)
class Stage:
    """One step whose results are recorded in the ledger."""

    name: str
    version: int
    """Version of the code: raised when the same parameters give other numbers."""
    upstream: tuple[str, ...]
    """Stages whose results it uses."""
    parameters: Callable[[Config], dict[str, Any]]
    """What of the parameters its results depend on."""


def _without(parameters: Mapping[str, Any], key: str) -> dict[str, Any]:
    return {name: value for name, value in parameters.items() if name != key}


def _reconstruct_parameters(config: Config) -> dict[str, Any]:
    """Leave out the coefficient of a correction that is not made: no study is done again for it."""
    given = vars(config.reconstruct)
    return _without(given, "attenuation_per_cm") if given["attenuation"] == "none" else dict(given)


IMAGING = (
    Stage(
        schema.RECONSTRUCT,
        version=2,
        upstream=(),
        parameters=lambda c: {
            "photopeak_kev": c.archive.photopeak_kev,
            **_reconstruct_parameters(c),
            **{name: vars(c.quality)[name] for name in WITHOUT_FIGURE},
        },
    ),
    Stage(
        schema.REGISTER,
        version=2,
        upstream=(schema.RECONSTRUCT,),
        parameters=lambda c: vars(c.register) | {"template": template_digest(c.register.template)},
    ),
    Stage(
        schema.QUANTIFY,
        version=4,
        upstream=(schema.REGISTER,),
        parameters=lambda c: _without(vars(c.quantify), "atlas_labels") | {"atlas": atlas_digest(c.quantify)},
    ),
)
"""The stages of `datbatch run`, in order. The reconstructed volume is not stored: it is made again where needed."""

EXPLAIN_VERSION = 2
TRAIN_VERSION = 2


@dataclass(frozen=True)
class StageIdentity:
    """What a stage's results depend on."""

    digest: str
    version: int
    parameters: dict[str, Any]
    upstream: dict[str, str]

    def to_dict(self) -> dict[str, Any]:
        """Give the JSON form that the store keeps."""
        return dict(vars(self))


def imaging_identities(config: Config, *, limits: bool = False) -> dict[str, StageIdentity]:
    """Give the identity of each imaging stage; a stage's digest covers the digests upstream of it.

    With `limits` those of before layout 3 of the store, which covered the limits of all flags.
    """
    found: dict[str, StageIdentity] = {}
    for stage in IMAGING:
        upstream = {name: found[name].digest for name in stage.upstream}
        parameters = stage.parameters(config)
        if limits and stage.name == schema.RECONSTRUCT:
            parameters |= vars(config.quality)
        content = {"stage": stage.name, "version": stage.version, "parameters": parameters, "upstream": upstream}
        found[stage.name] = StageIdentity(digest(content), stage.version, parameters, upstream)
    return found


def image_study(
    study: str,
    files: Sequence[Location],
    config: Config,
    known: Mapping[str, Row] | None = None,
    space: Space | None = None,
    source: str = schema.PROJECTIONS,
) -> ImagedStudy:
    """Take one study from its files to scaled, quantified, mirrored uptake; never raises.

    A tomogram that was reconstructed elsewhere enters at its registration; nothing is said of projections then.

    Parameters
    ----------
    study : str
        Pseudonym.
    files : sequence of Path
        The study's files.
    config : Config
        All parameters.
    known : mapping of str to Row, optional
        Rows of stages that are done already; their results are used, not computed again.
    space : Space, optional
        Template and atlas; by default those that `config` names by path.
    source : str
        What the files hold: projections, or a tomogram.

    Returns
    -------
    ImagedStudy
        With a row for every imaging stage; a failure is carried to the stages after it.
    """
    space = space if space is not None else configured_space(config)
    rows = dict(known or {})
    clock = _Clock()
    earlier = next((row for row in rows.values() if row.outcome != DONE), None)
    if earlier is not None:
        return ImagedStudy({stage.name: rows.get(stage.name, earlier) for stage in IMAGING})
    stage, values, uptake = "reconstruct", dict[str, Any](), None
    acquisition, facts, outcome = None, None, DONE
    try:
        if source == schema.TOMOGRAM:
            with clock("read"):
                tomogram = read_tomogram(files)
            facts, volume = tomogram.study, Volume(tomogram.data, tomogram.affine)
            rows.setdefault(stage, Row(study, DONE, _tomogram_values(tomogram)))
        else:
            with clock("read"):
                acquisition = read_study(files, config=config.archive)
            facts = acquisition.study
            with clock("reconstruct"):
                volume = reconstruct(acquisition, config.reconstruct)
            if stage not in rows:
                with clock("assess"):
                    quality = assess_projections(acquisition, config.quality)
                rows[stage] = Row(study, DONE, _acquisition_values(acquisition, quality, config))
        stage = "register"
        if stage not in rows:
            with clock("register"):
                registration = register_affine(volume, space.template, config.register)
            values = _registration_values(registration)
            if registration.failed:
                raise NormalisationError(f"the normalised study is not like the template: {_scores(registration)}")
            rows[stage] = Row(study, DONE, values)
        template_to_study = np.asarray(rows[stage].values["template_to_study"], dtype=np.float64)
        stage, values = "quantify", {}
        with clock("normalise"):
            normalised = resample(volume, template_to_study, schema.grid_affine(), schema.SHAPE)
        with clock("quantify"):
            side_ratio = _normal_side_ratio(space, config.quantify)
            counts = None if acquisition is None else acquisition.counts
            result = quantify(normalised, config.quantify, space.atlas, side_ratio, counts)
        rows[stage] = Row(study, DONE, _quantification_values(result))
        uptake = result.uptake
    except DatbatchError as error:
        outcome = Outcome.failed(error, stage)
    except MemoryError:
        outcome = Outcome.failed(MemoryExceededError("the study needed more memory than it may take"), stage)
    except Exception as error:
        # Its message may hold a path; only its kind is kept. One bad study never stops a batch.
        outcome = Outcome.failed(InternalError(f"unforeseen {type(error).__name__}"), stage)
    if outcome != DONE:
        rows[stage] = Row(study, outcome, values)
    by_stage = {s.name: rows.get(s.name, Row(study, outcome)) for s in IMAGING}
    return ImagedStudy(by_stage, uptake, clock.seconds, facts, acquisition)


def _acquisition_values(acquisition: Acquisition, quality: ProjectionQuality, config: Config) -> dict[str, Any]:
    """Give what the store keeps; flags of limits follow from it when they are read (`with_limits`)."""
    measured = {name: as_json(value) for name, value in vars(quality).items() if isinstance(value, float)}
    beyond = beyond_limits({**measured, "counts": acquisition.counts}, config.quality)
    return measured | {
        "scanner": acquisition.study.scanner,
        "counts": acquisition.counts,
        "views": len(acquisition.angles_deg),
        "pixel_size_mm": acquisition.pixel_size_mm,
        "counts_by_angle": as_json(quality.counts_by_angle),
        "missing_views": quality.missing_views,
        "repeated_views": quality.repeated_views,
        "flags": " ".join([*acquisition.study.flags, *(code for code in quality.flags if code not in beyond)]),
    }


def _tomogram_values(tomogram: Tomogram) -> dict[str, Any]:
    """Give what is known of a study without projections: nothing of counts, views, motion and reconstruction."""
    return {"scanner": tomogram.study.scanner, "flags": " ".join(tomogram.study.flags)}


def _registration_values(registration: Registration) -> dict[str, Any]:
    scores = {f"quality_{name}": as_json(score) for name, score in registration.quality.items()}
    return scores | {"template_to_study": registration.template_to_study.tolist()}


def _normal_side_ratio(space: Space, config: QuantifyConfig) -> float:
    return _side_ratio_in(space, config.reference_percentile, config.putamen_hottest_ml)


@lru_cache(maxsize=2)
def _side_ratio_in(space: Space, reference_percentile: float, putamen_hottest_ml: float) -> float:
    """Measure the template once for all studies; the cache needs plain numbers for its key."""
    config = QuantifyConfig(reference_percentile=reference_percentile, putamen_hottest_ml=putamen_hottest_ml)
    return normal_side_ratio(space.template.data, config, space.atlas)


def _scores(registration: Registration) -> str:
    return ", ".join(f"{name} {score:.2f}" for name, score in registration.quality.items())


def _quantification_values(result: Quantification) -> dict[str, Any]:
    return {
        "reference_value": result.reference_value,
        "mirrored": bool(result.mirrored),
        "lower_side": result.lower_side,
        "specific_binding_ratio": as_json(result.specific_binding_ratio),
        **as_json(vars(result.binding)),
        "quantification_flags": " ".join(result.flags),
    }


class _Clock:
    """Adds up wall time by name."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = {}
        self._running: tuple[str, float] = ("", 0.0)

    def __call__(self, name: str) -> _Clock:
        self._running = (name, time.perf_counter())
        return self

    def __enter__(self) -> None: ...

    def __exit__(self, *_: object) -> None:
        name, start = self._running
        self.seconds[name] = self.seconds.get(name, 0.0) + time.perf_counter() - start
