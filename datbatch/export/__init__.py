"""Results handed to people and other tools: pages, NIfTI, BIDS derivatives, tables, DICOM."""

from datbatch.export.formats import export_bids, export_dicom, export_nifti, export_pages
from datbatch.export.run import Exported
from datbatch.export.tables import write_tables

__all__ = ["Exported", "export_bids", "export_dicom", "export_nifti", "export_pages", "write_tables"]
