"""Results handed to other tools: NIfTI, BIDS derivatives, tables, DICOM."""

from datbatch.export.formats import export_bids, export_dicom, export_nifti
from datbatch.export.run import Exported
from datbatch.export.tables import write_tables

__all__ = ["Exported", "export_bids", "export_dicom", "export_nifti", "write_tables"]
