# ruff: noqa: N999 - Slicer names the package of a module so
"""What the ActiveSeg module is made of; ``ActiveSegModule.py`` beside this package only holds Slicer's own classes."""
