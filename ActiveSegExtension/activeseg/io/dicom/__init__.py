"""DICOM series into volumes: headers, slices, stacks."""
