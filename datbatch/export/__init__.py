"""Results handed to other tools: NIfTI, BIDS derivatives, tables, DICOM."""
