"""Segments, as Slicer and DICOM have them, into one label map: which structure each is, and how layers are composed."""
