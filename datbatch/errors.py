"""Every way in which an input can be refused, each with a stable code that ends up in the store in an `Outcome`.

A message never names a person, a path or a hospital: it is stored. The file is added by whoever shows the error
on the operator's terminal.
"""

from __future__ import annotations

from typing import ClassVar, NamedTuple

MAKE_ROOM = "Make room or mend the disk, then call the same command again: it resumes."
"""What to do where the system could not write."""


class DatbatchError(Exception):
    """Base of all errors that name their reason and remedy.

    Parameters
    ----------
    reason : str
        What was found, without identity (no path, name, identifier or date).
    remedy : str, optional
        What the operator can do; the class's own remedy when not given.
    """

    code: ClassVar[str] = "error"
    remedy: ClassVar[str] = "Read the reason and correct the input."

    def __init__(self, reason: str, remedy: str | None = None) -> None:
        super().__init__(reason)
        self.reason = reason
        self.advice = remedy if remedy is not None else self.remedy

    def __str__(self) -> str:
        return f"{self.reason} [{self.code}] {self.advice}"

    def __reduce__(self) -> tuple[type[DatbatchError], tuple[str, str]]:
        return type(self), (self.reason, self.advice)


class ConfigurationError(DatbatchError):
    """A parameter file has an unknown key or a value out of range."""

    code = "configuration-invalid"
    remedy = "Correct the key that the reason names."


class ArchiveError(DatbatchError):
    """The archive folder or its participants table cannot be used at all."""

    code = "archive-unusable"
    remedy = "Give a readable folder of DICOM files."


class ParticipantsTableError(DatbatchError):
    """The participants table cannot be read or joined."""

    code = "participants-invalid"
    remedy = "Give a CSV or TSV with one row per study and the documented columns."


class NotDicomError(DatbatchError):
    """The file is not DICOM."""

    code = "not-dicom"
    remedy = "Export the study again as DICOM Part 10 files."


class UnreadableDicomError(DatbatchError):
    """The file claims to be DICOM but cannot be parsed within safe bounds."""

    code = "dicom-unreadable"
    remedy = "Export the study again; the file is damaged."


class TruncatedError(DatbatchError):
    """The file holds fewer bytes or frames than its header declares."""

    code = "truncated"
    remedy = "Copy or export the file again; it was cut."


class WrongModalityError(DatbatchError):
    """The object is not a nuclear medicine image."""

    code = "wrong-modality"
    remedy = "Give NM Image Storage objects."


class NotProjectionsError(DatbatchError):
    """A nuclear medicine object that is not a set of raw tomographic projections."""

    code = "not-projections"
    remedy = "Export the raw projections (ImageType TOMO, EMISSION) of the study."


class NotTomogramError(DatbatchError):
    """The file is not a reconstructed tomogram."""

    code = "not-tomogram"
    remedy = (
        "Give reconstructed slices: NM with ImageType RECON TOMO, a PET series, or NIfTI; `datbatch run` takes raw "
        "projections."
    )


class UnreadableNiftiError(DatbatchError):
    """The file claims to be NIfTI but cannot be read within safe bounds."""

    code = "nifti-unreadable"
    remedy = "Convert the study again, to one file .nii or .nii.gz; this one is damaged."


class MissingOrientationError(DatbatchError):
    """The file does not say where the patient's left is."""

    code = "orientation-missing"
    remedy = (
        "Export the tomogram with its orientation (ImageOrientationPatient and SpacingBetweenSlices, or a NIfTI sform "
        "or qform); left and right are never guessed."
    )


class InvalidTomogramError(DatbatchError):
    """Number of axes, voxels, slices or extent of a tomogram are not those of a head."""

    code = "tomogram-invalid"
    remedy = "Give one whole three-dimensional image of the head, in millimetres."


class SeveralTomogramsError(DatbatchError):
    """The study has several tomograms, and nothing says which one is meant."""

    code = "tomograms-several"
    remedy = "Leave the one in the folder that is to be imported."


class LossyCompressionError(DatbatchError):
    """Pixels were compressed with loss and must not be reconstructed."""

    code = "lossy-compression"
    remedy = "Export the uncompressed or losslessly compressed original."


class UnsupportedPixelsError(DatbatchError):
    """Pixels are stored in a form that no installed decoder reads."""

    code = "pixels-unsupported"
    remedy = "Export the study with an uncompressed transfer syntax."


class MissingAnglesError(DatbatchError):
    """The angle of each view cannot be derived from the header."""

    code = "angles-missing"
    remedy = "Export the study from the acquisition station, with its rotation information."


class ContradictoryGeometryError(DatbatchError):
    """Two header fields contradict each other about the geometry."""

    code = "geometry-contradictory"
    remedy = "Correct the header or leave the study out; orientation is never guessed."


class MissingViewsError(DatbatchError):
    """There are fewer views than the header declares."""

    code = "views-missing"
    remedy = "Find the missing files or frames of the acquisition."


class UnsupportedGeometryError(DatbatchError):
    """The acquisition cannot be described by parallel rays over a circular or contoured orbit."""

    code = "geometry-unsupported"
    remedy = "Only parallel-hole collimators over at least 180 degrees can be reconstructed."


class NoPhotopeakError(DatbatchError):
    """No energy window covers the photopeak of I-123."""

    code = "photopeak-missing"
    remedy = "Export the energy window that covers 159 keV."


class NoCountsError(DatbatchError):
    """The projections hold no counts."""

    code = "counts-zero"
    remedy = "Check the export; the photopeak frames are empty."


class InvalidProjectionsError(DatbatchError):
    """Projections hold negative values, values that are not finite, or nothing."""

    code = "projections-invalid"
    remedy = "Export the raw projections again; counts are finite and not negative."


class MissingFilesError(DatbatchError):
    """The study's files were in the archive once and are gone."""

    code = "files-missing"
    remedy = "Put the study's files back into the archive."


class DuplicateStudyError(DatbatchError):
    """The study's object or pixels occur a second time in the archive."""

    code = "duplicate"
    remedy = "Nothing to do: the first occurrence is kept."


class MissingLabelError(DatbatchError):
    """The participants table gives neither a label nor readers' reads for the study."""

    code = "label-missing"
    remedy = 'Give the label or the reads, or set archive.unlabelled = "keep" to process it for inference only.'


class ContradictoryLabelError(DatbatchError):
    """Label and reads, or two rows for one study, disagree."""

    code = "label-contradictory"
    remedy = "Settle the label in the participants table."


class EmptyVolumeError(DatbatchError):
    """A volume is empty, constant or not finite."""

    code = "volume-empty"
    remedy = "Check the projections of the study."


class BodyContourError(DatbatchError):
    """The outline of the head, which attenuation correction needs, was not found in the image."""

    code = "contour-missing"
    remedy = 'Look at the study, or set reconstruct.attenuation = "none".'


class TemplateError(EmptyVolumeError):
    """The file given as template is no image of a brain in MNI space."""

    code = "template-unusable"
    remedy = "Give a three-dimensional NIfTI image in MNI millimetres that covers the brain."


class AtlasError(DatbatchError):
    """The file given as atlas is no image of labels, or labels or names are missing."""

    code = "atlas-unusable"
    remedy = "Give a NIfTI image of whole numbers and a name for each; `datbatch atlas FILE` writes an example."


class NormalisationError(DatbatchError):
    """The study could not be brought into the template's space."""

    code = "normalisation-failed"
    remedy = "Look at the study's quality scores; check the field of view and the orientation."


class ReferenceRegionError(DatbatchError):
    """The reference region is outside the field of view or has no uptake."""

    code = "reference-empty"
    remedy = "Check the field of view and the normalisation of the study."


class GridMismatchError(DatbatchError):
    """Arrays that must share a grid do not."""

    code = "grid-mismatch"
    remedy = "Use the grid of the store or of the model's card."


class StoreError(DatbatchError):
    """The store cannot be used: missing, of another layout, or damaged."""

    code = "store-unusable"
    remedy = "Give the path of a store written by `datbatch run`."


class StoreNewerError(StoreError):
    """The store was written by a later version of datbatch, or has been migrated to its layout."""

    code = "store-newer"
    remedy = "Install the version that the store's attribute datbatch_version names, or a later one."


class StoreOlderError(StoreError):
    """The store has an earlier layout: it can be read, and is written to only once it is migrated."""

    code = "store-older"
    remedy = "Call `datbatch migrate COHORT` once: it computes nothing again."


class StoreInUseError(StoreError):
    """Another command is writing to the store."""

    code = "store-in-use"
    remedy = "Wait until it has ended, or end it; the lock file beside the store names its machine and process."


class CorruptStoreError(StoreError):
    """Bytes in the store differ from what was recorded when they were written."""

    code = "store-corrupt"
    remedy = "Run `datbatch verify --repair` to compute the damaged granules again."


class StorageError(DatbatchError):
    """The object store refuses, cannot be reached, or is not set up."""

    code = "storage-unusable"
    remedy = "Check endpoint, region, bucket and credentials (AWS_... variables), then call again: it resumes."


class ModelError(DatbatchError):
    """A model cannot be used: missing, damaged, pickled, or made for another grid."""

    code = "model-unusable"
    remedy = "Give the folder of a model written by `datbatch train`."


class TrainingDataError(DatbatchError):
    """The labelled studies do not suffice to split or train."""

    code = "training-data-insufficient"
    remedy = "Label more studies of both classes."


class SplitLeakError(TrainingDataError):
    """The same person or the same pixels are in two sets of the split."""

    code = "split-leak"
    remedy = (
        "Correct the studies' PatientID or leave copies out; hold out all sites of a person together; where PatientIDs "
        "are place holders set split.keep_persons = false."
    )


class DivergedError(DatbatchError):
    """Training produced a loss that is not finite."""

    code = "training-diverged"
    remedy = "Lower the learning rate or look at the named studies."


class UnlikeProcessesError(DatbatchError):
    """Processes that train one network together do not hold the same numbers."""

    code = "processes-unlike"
    remedy = "Use workers with the same kind of processor that see the same files, or set train.processes = 1."


class MemoryPlanError(DatbatchError):
    """Training needs more memory or disk than there is."""

    code = "memory-insufficient"
    remedy = 'Use a worker with more memory, train.preset = "compact", or a smaller train.batch_size.'


class NormalRangeError(DatbatchError):
    """The normal studies of the training split do not suffice for a normal range."""

    code = "normals-insufficient"
    remedy = "Label more normal studies, or switch off what they lack: norms.use_age, norms.use_sex, norms.use_site."


class RecoveryTableError(DatbatchError):
    """The table of phantom recovery factors cannot be read or used."""

    code = "recovery-invalid"
    remedy = "Give a CSV with the columns scanner (or site), definition, recovery and, if known, sd."


class NoAcceleratorError(DatbatchError):
    """No worker of the cluster offers the accelerator resource."""

    code = "accelerator-missing"
    remedy = 'Start workers with `dask worker ADDRESS --resources "accelerator=1"`.'


class MissingDeviceError(DatbatchError):
    """The graphics processor that the parameters ask for is not there."""

    code = "device-missing"
    remedy = 'Set reconstruct.device = "cpu", or run where PyTorch sees a graphics processor.'


class ClusterError(DatbatchError):
    """The cluster gives no workers, or its scheduler was lost."""

    code = "cluster-unusable"
    remedy = "Mend the cluster, then call the same command again: it resumes."


class ExposedFileError(DatbatchError):
    """A file that leads to persons, or a key, can be read by others."""

    code = "file-exposed"
    remedy = "Give it to its owner alone: chmod 600. If others may have read a key, replace it."


class WorkerLostError(DatbatchError):
    """A study ended its process again and again."""

    code = "worker-lost"
    remedy = "Look at the study alone; it crashes a library or exhausts the machine's memory."


class TimeExceededError(DatbatchError):
    """The study took longer than any study may."""

    code = "time-exceeded"
    remedy = "Look at the study alone, and at its disk; raise limits.study_seconds where the machine is that slow."


class MemoryExceededError(DatbatchError):
    """The study wanted more memory than any study may."""

    code = "memory-exceeded"
    remedy = "Look at the study alone; raise limits.study_gb where studies are that large."


class InternalError(DatbatchError):
    """An unforeseen fault while one study was processed; the batch went on without it."""

    code = "internal"
    remedy = "Please report it with the exception's name."


class Terminated(KeyboardInterrupt):
    """SIGTERM came, as at the end of a walltime: finish what is under way, start nothing."""


def by_code(base: type[DatbatchError] = DatbatchError) -> dict[str, type[DatbatchError]]:
    """Map each stable code to its error class, for a class and all below it."""
    found = {base.code: base}
    for kind in base.__subclasses__():
        found.update(by_code(kind))
    return found


ARCHIVE = "archive"
"""Stage of what is decided before any image is made."""
FAILED, EXCLUDED = "failed", "excluded"


class Outcome(NamedTuple):
    """What became of a file, a study or a stage, and why."""

    status: str
    """`done`, `failed` in this or an earlier stage, `excluded` by the manifest, or `included` in it."""
    code: str = ""
    """Why it failed or was excluded; empty where nothing is wrong."""
    stage: str = ""
    """Stage in which it failed or was excluded."""
    reason: str = ""
    """What was found, without identity."""

    @classmethod
    def failed(cls, error: DatbatchError, stage: str = ARCHIVE) -> Outcome:
        """Say that an error ended it."""
        return cls(FAILED, error.code, stage, error.reason)

    @classmethod
    def excluded(cls, code: str, reason: str) -> Outcome:
        """Say that a rule of inclusion excludes it."""
        return cls(EXCLUDED, code, ARCHIVE, reason)

    def error(self) -> DatbatchError:
        """Give the error that ended it, to be raised again."""
        return by_code()[self.code](self.reason)


DONE, INCLUDED = Outcome("done"), Outcome("included")
