"""Lets ``import torchvision`` work where its C++ operators cannot load beside a CPU build of torch.

The torchvision wheel of the Python Package Index for Linux is a CUDA build. Beside a CPU build of torch its ``_C.so``
does not load, and then ``torchvision._meta_registrations`` fails with "operator torchvision::nms does not exist". That
ends every look-up of an nnU-Net trainer (nnU-Net imports all trainers, one of them imports timm, and timm imports
torchvision), so the genuine ``TotalSegmentator`` and ``nnUNetv2_*`` commands cannot load most models.

``activeseg_torchvision.pth`` imports this module whenever Python starts in the engine's environment. It costs nothing
until somebody imports torchvision. Then, only if the operators are missing and torch has no CUDA, it declares the two
operators whose absence ends the import. They stay without an implementation: who calls them is told so by torchvision.
"""

import sys

_SCHEMAS = (
    "nms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
    "qnms(Tensor dets, Tensor scores, float iou_threshold) -> Tensor",
)
_libraries = []  # torch takes a library's operators back when the object goes


def _declare_missing_operators(extension):
    """Called with the module ``torchvision.extension`` when it has tried to load the operators."""
    import torch

    if extension._has_ops() or torch.version.cuda is not None:
        return
    library = torch.library.Library("torchvision", "FRAGMENT")
    _libraries.append(library)
    for schema in _SCHEMAS:
        library.define(schema)


class _ExtensionFinder:
    """A meta path finder that adds one step after the import of ``torchvision.extension`` and finds nothing else."""

    def find_spec(self, name, path=None, target=None):
        if name != "torchvision.extension":
            return None
        # Whatever is wrong here, torchvision must fail or work as if this module did not exist.
        try:
            from importlib.machinery import PathFinder

            spec = PathFinder.find_spec(name, path, target)
            load = spec.loader.exec_module
        except Exception:
            return None

        def load_and_declare(module):
            load(module)
            try:
                _declare_missing_operators(module)
            except Exception:
                return

        spec.loader.exec_module = load_and_declare
        return spec


sys.meta_path.insert(0, _ExtensionFinder())
