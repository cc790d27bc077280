"""One study through everything, in memory: no store, no cluster.

Torch takes longer to load than a study to be imaged, so a thread of its own loads it with the model.
"""

from __future__ import annotations

import json
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import fields
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from datbatch import schema
from datbatch.archive import StudyFacts
from datbatch.classifier.folder import ModelFolder
from datbatch.config import Config, ExplainConfig
from datbatch.errors import ConfigurationError, DatbatchError
from datbatch.imaging import Binding, with_limits
from datbatch.study.certainty import read_certainty
from datbatch.study.comparison import (
    Comparison,
    Person,
    compare_study,
    find_normal_range,
    read_normal_range,
)
from datbatch.study.explained import ExplainedVolume, StudyExplanation
from datbatch.study.imaged import ImagedStudy
from datbatch.study.imaging import EXPLAIN_VERSION, image_study, imaging_identities
from datbatch.study.space import Space, configured_space, model_space

if TYPE_CHECKING:
    from datbatch.classifier.model import Model


def explain_study(
    paths: Sequence[str | Path],
    model: str | Path,
    *,
    config: Config | None = None,
    age_years: float | None = None,
    sex: str = "",
    site: str = "",
) -> StudyExplanation:
    """Take one study's raw DICOM files through everything.

    Parameters
    ----------
    paths : sequence of str or Path
        The study's DICOM files.
    model : str or Path
        Folder of a trained model. Calibration and normal range are read there or beside it, where they are.
    config : Config, optional
        Imaging parameters and start of relevance; by default those that the model was trained with.
    age_years : float, optional
        For the comparison with normal studies; the header's by default.
    sex : str
        F or M; the header's by default.
    site : str
        Site of the cohort that the study comes from. Another one, or none, is compared with the mean of the sites.

    Raises
    ------
    DatbatchError
        The named kind for what is wrong with the study or the model.
    """
    folder = Path(model)
    with ThreadPoolExecutor(max_workers=1) as beside:
        loading = beside.submit(_load, folder)
        own = config if config is not None else _stated_config(folder)
        if own is None:
            # What is wrong with the card is for the model's reader to say.
            own = Config.from_dict(loading.result().card.config, recorded=True)
        space = configured_space(own) if config is not None else model_space(ModelFolder(folder), own)
        imaged = image_study("study", [Path(path) for path in paths], own, space=space)
        loaded = loading.result()
    last = imaged.rows["quantify"]
    if imaged.uptake is None or imaged.facts is None:
        raise last.outcome.error()
    start = time.perf_counter()
    explained = _explain(imaged, loaded, own, space)
    seconds = {**imaged.seconds, schema.EXPLAIN: time.perf_counter() - start}
    certainty, not_judged = read_certainty(folder, loaded.card.weights_sha256)
    calibrated, certain, uncertain_share = np.nan, None, np.nan
    if certainty is not None:
        call = certainty.call([explained.log_odds])
        certain, uncertain_share = bool(call.certain[0]), certainty.uncertain_share
        if certainty.members[0].temperature is not None:
            calibrated = float(call.probability[0])
    registered, quantified = imaged.rows[schema.REGISTER].values, last.values
    acquired = with_limits(imaged.rows[schema.RECONSTRUCT].values, own.quality)
    binding = Binding(*(np.array(quantified[field.name], dtype=np.float64) for field in fields(Binding)))
    person = Person(imaged.facts.age_years if age_years is None else age_years, sex or imaged.facts.sex, site)
    comparison, not_compared = _compare(folder, own, binding, person, imaged.facts, acquired["pixel_size_mm"])
    motion_mm = acquired["motion_mm"]
    return StudyExplanation(
        **vars(explained),
        uptake=imaged.uptake,
        mirrored=quantified["mirrored"],
        lower_side=quantified["lower_side"],
        specific_binding_ratio=np.array(quantified["specific_binding_ratio"], dtype=np.float64),
        binding=binding,
        quantification_flags=tuple(quantified["quantification_flags"].split()),
        template_to_study=np.asarray(registered["template_to_study"], dtype=np.float64),
        quality={k.removeprefix("quality_"): v for k, v in registered.items() if k.startswith("quality_")},
        counts=acquired["counts"],
        motion_mm=np.nan if motion_mm is None else motion_mm,
        flags=tuple(acquired["flags"].split()),
        comparison=comparison,
        not_compared=not_compared,
        calibrated_probability=calibrated,
        certain=certain,
        not_judged=not_judged,
        uncertain_share=uncertain_share,
        model=folder.absolute().name,
        weights_sha256=loaded.card.weights_sha256,
        atlas=space.atlas,
        seconds=seconds,
        acquired=acquired,
        stages={name: identity.to_dict() for name, identity in imaging_identities(own).items()}
        | {schema.EXPLAIN: {"version": EXPLAIN_VERSION, "parameters": vars(own.explain)}},
        projections=imaged.acquisition,
        simulated=schema.SIMULATED in imaged.facts.scanner,
    )


def _load(folder: Path) -> Model:
    from datbatch.study.relevance import load_model_once

    return load_model_once(folder)


def _explain(imaged: ImagedStudy, model: Model, config: Config, space: Space) -> ExplainedVolume:
    from datbatch.study.relevance import explain_volumes

    assert imaged.uptake is not None
    learned = model.card.config.get(schema.EXPLAIN, {})
    for name in ("target", "rules", "hottest_ml"):
        if getattr(config.explain, name) != learned.get(name, getattr(ExplainConfig(), name)):
            raise ConfigurationError(
                f"the model's sign of relevance was learned with another explain.{name}; with this one the sign may "
                "mean the opposite",
                "Leave it as it was in training, or explain a cohort, which learns the sign from its own maps.",
            )
    return explain_volumes([imaged.uptake], model, config.explain, space.atlas)[0]


def _stated_config(folder: Path) -> Config | None:
    """Read the parameters alone from a model's card, before torch is there; None where that fails."""
    try:
        card = json.loads(ModelFolder(folder).card_file.read_text(encoding="utf-8"))
        return Config.from_dict(card["config"], recorded=True)
    except (OSError, ValueError, TypeError, KeyError, DatbatchError):
        return None


def _compare(
    folder: Path, config: Config, binding: Binding, person: Person, facts: StudyFacts, size_mm: float
) -> tuple[Comparison | None, str]:
    """Compare with the normal range where there is one that fits; else say why not."""
    path = find_normal_range(folder)
    if path is None:
        return None, "there is no normal range beside the model. Call `datbatch norms COHORT`."
    try:
        return compare_study(read_normal_range(path, config), binding, person, facts, size_mm), ""
    except DatbatchError as error:
        return None, f"{error.reason}. {error.advice}"
