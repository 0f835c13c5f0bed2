# ruff: noqa: N999 - Slicer names the package of a module so
"""The engine as the module has it: started, asked, listened to, and its results fetched."""
