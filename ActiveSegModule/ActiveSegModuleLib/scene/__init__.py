# ruff: noqa: N999 - Slicer names the package of a module so
"""Predictions into Slicer's MRML scene and corrected segmentations back out of it, without Qt.

Start at ``segmentation.SegmentationNode``: ``create`` shows a label map, ``read_back`` returns what
the user made of it.
``uncertainty``, ``regions`` and ``alternatives`` hold the rest of a prediction, each behind one wrapper.
"""
