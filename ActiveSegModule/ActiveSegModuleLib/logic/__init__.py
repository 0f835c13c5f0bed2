# ruff: noqa: N999 - Slicer names the package of a module so
"""What the panel's sections do, without Qt: one file for each section, of the same name."""
