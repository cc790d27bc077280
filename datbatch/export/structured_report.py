"""DICOM structured report of one study: binding ratios, z-scores, relevance and classification (TID 1500)."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence

from highdicom.sr import (
    AlgorithmIdentification,
    CodedConcept,
    Comprehensive3DSR,
    DeviceObserverIdentifyingAttributes,
    FindingSite,
    Measurement,
    MeasurementReport,
    MeasurementsAndQualitativeEvaluations,
    ObservationContext,
    ObserverContext,
    QualitativeEvaluation,
    TrackingIdentifier,
)
from pydicom import Dataset
from pydicom.sr.codedict import codes

from datbatch import __version__, schema
from datbatch.cohort.views.results import LEFT, RIGHT, ModelResults, StudyResults
from datbatch.export.nifti import NOTICE
from datbatch.export.parametric_map import MANUFACTURER
from datbatch.export.subject import SCHEME, Subject, uid

SITES = {
    "putamen": codes.SCT.Putamen,
    "caudate": codes.SCT.CaudateNucleus,
    "thalamus": codes.SCT.Thalamus,
    "brain_stem": codes.SCT.BrainStem,
    "ventricles": codes.SCT.BrainVentricle,
    "occipital": codes.SCT.OccipitalLobe,
    "whole_brain": codes.SCT.Brain,
}
"""Anatomical site by region, without its side. The reference region has none: its binding ratio is 0 by definition."""
LATERALITY = {LEFT: codes.SCT.Left, RIGHT: codes.SCT.Right}
BINDING = CodedConcept("specific-binding-ratio", SCHEME, "Specific binding ratio")
ORIENTED_RELEVANCE = CodedConcept("oriented-relevance", SCHEME, "Relevance, positive speaks for reduced uptake")
CLASSIFICATION = CodedConcept("classification", SCHEME, "Classification of striatal uptake")
CLASSES = {
    schema.NEGATIVE: CodedConcept("normal-uptake", SCHEME, "Normal uptake"),
    schema.POSITIVE: CodedConcept("reduced-uptake", SCHEME, "Reduced uptake"),
}
PROBABILITY = CodedConcept("probability-reduced-uptake", SCHEME, "Probability of reduced uptake")
INCONSISTENT = CodedConcept("relevance-inconsistent", SCHEME, "Relevance map typical of the other class")
INTENDED_USE = CodedConcept("intended-use", SCHEME, "Intended use")
RESEARCH_ONLY = CodedConcept("research-only", SCHEME, NOTICE)


def structured_report(results: StudyResults, subject: Subject, evidence: Sequence[Dataset], *, series: int) -> Dataset:
    """Make a Comprehensive 3D SR (PS3.3 A.35.13) with a Measurement Report (PS3.16 TID 1500), not verified by anybody.

    One group of measurements for each region and side of the patient, and one for the classification with the model's
    name, version and digest. What is not finite is left out. The report refers to maps of the same study, `evidence`;
    `series` is the number of its series. Equal results give equal UIDs.
    """
    groups = [group for region in schema.REGIONS if (group := _region_group(results, region, subject.key)) is not None]
    if results.model is not None:
        groups.append(_classification_group(results.model, subject.key))
    observer = ObserverContext(
        codes.DCM.Device,
        DeviceObserverIdentifyingAttributes(
            uid=uid("device", __version__), name="datbatch", manufacturer_name=MANUFACTURER, model_name=__version__
        ),
    )
    report = MeasurementReport(
        observation_context=ObservationContext(observer_device_context=observer),
        procedure_reported=codes.SCT.SPECT,
        imaging_measurements=groups,
        title=codes.DCM.ImagingMeasurementReport,
    )
    model = results.model
    told = [results.specific_binding_ratio.tolist(), results.z_score.tolist()]
    if model is not None:
        told.append([model.name, model.weights_sha256, model.probability, model.regional.tolist(), model.sign])
    content = hashlib.sha256(repr([told, [str(one.SOPInstanceUID) for one in evidence]]).encode()).hexdigest()
    made = Comprehensive3DSR(
        evidence=list(evidence),
        content=report,
        series_instance_uid=uid(subject.key, "report series", model.name if model else ""),
        series_number=series,
        sop_instance_uid=uid(subject.key, "report", content),
        instance_number=1,
        manufacturer=MANUFACTURER,
        is_complete=True,
        is_final=False,
        is_verified=False,
        performed_procedure_codes=[codes.SCT.SPECT],
        manufacturer_model_name="datbatch",
        software_versions=__version__,
        device_serial_number="1",
    )
    return subject.finish(made, f"Measurements. {NOTICE}")


def _region_group(results: StudyResults, region: str, key: str) -> MeasurementsAndQualitativeEvaluations | None:
    structure = region.removesuffix("_ipsilateral").removesuffix("_contralateral")
    if structure not in SITES:
        return None
    measurements = []
    if math.isfinite(results.binding(region)):
        measurements.append(Measurement(BINDING, _decimal(results.binding(region)), codes.UCUM.Ratio))
    measure = f"{schema.HOTTEST_VOXELS} {region}"
    if measure in schema.MEASURES and math.isfinite(results.z(measure)):
        measurements.append(Measurement(codes.DCM.ZScore, _decimal(results.z(measure)), codes.UCUM.NoUnits))
    if results.model is not None:
        raw = results.model.regional[schema.REGIONS.index(region), schema.STATISTICS.index(schema.HOTTEST_MEAN)]
        if math.isfinite(raw):
            oriented = _decimal(results.model.sign * float(raw))
            measurements.append(Measurement(ORIENTED_RELEVANCE, oriented, codes.UCUM.NoUnits))
    if not measurements:
        return None
    side = results.side(region)
    name = f"{structure} {side}".strip()
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid(key, "region", name), identifier=name),
        finding_sites=[FindingSite(SITES[structure], laterality=LATERALITY.get(side))],
        measurements=measurements,
    )


def _classification_group(model: ModelResults, key: str) -> MeasurementsAndQualitativeEvaluations:
    return MeasurementsAndQualitativeEvaluations(
        tracking_identifier=TrackingIdentifier(uid=uid(key, "classification", model.name), identifier="classification"),
        algorithm_id=AlgorithmIdentification(
            name=f"datbatch {model.name}",
            version=model.version or __version__,
            parameters=[f"weights sha256 {model.weights_sha256}"],
        ),
        finding_sites=[FindingSite(codes.SCT.CorpusStriatum)],
        measurements=[Measurement(PROBABILITY, _decimal(model.probability), codes.UCUM.NoUnits)],
        qualitative_evaluations=[
            QualitativeEvaluation(CLASSIFICATION, CLASSES[model.predicted]),
            QualitativeEvaluation(INCONSISTENT, codes.SCT.Yes if model.inconsistent else codes.SCT.No),
            QualitativeEvaluation(INTENDED_USE, RESEARCH_ONLY),
        ],
    )


def _decimal(value: float) -> float:
    """Round to eight digits: a decimal string of DICOM holds sixteen characters."""
    return float(f"{value:.8g}")
