# ruff: noqa: N999 - Slicer names the package of a module so
"""The panel's sections: each connects the widgets of one part of the ``.ui`` to the logic file of the same name."""
