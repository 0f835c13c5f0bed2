"""Views: the same image seen slightly differently, so that a single trained network can disagree with itself.

Only changes that nnU-Net's training covers (noise, contrast, scaling, rotation, shift): never mirroring, which
whole-body models are not trained for and which costs a third of their Dice (measured).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from activeseg.core.votes import Member, MemberKind

if TYPE_CHECKING:
    import torch


@dataclass(frozen=True)
class View:
    """One augmented look at the preprocessed image.

    Attributes
    ----------
    intensity : changes the values of the image (c, z, y, x)
    matrix : None, or 3 x 3 in voxels around the centre; the voxel at ``x`` of the view shows ``matrix @ x + shift``
    shift : voxels (z, y, x)
    """

    name: str
    intensity: Callable[[torch.Tensor], torch.Tensor] | None = None
    matrix: tuple[tuple[float, float, float], ...] | None = None
    shift: tuple[float, float, float] = (0.0, 0.0, 0.0)

    @property
    def member(self) -> Member:
        return Member(self.name, MemberKind.VIEW)

    @property
    def moves(self) -> bool:
        """Whether the view looks at other places, so that its answer has to be brought back."""
        return self.matrix is not None or any(self.shift)

    def look(self, data: torch.Tensor) -> torch.Tensor:
        """The image (c, z, y, x) as this view sees it, on the same grid; edges are replicated."""
        if self.intensity is not None:
            data = self.intensity(data)
        if self.moves:
            data = _warp(data, self._forward(), border="border")
        return data

    def bring_back(self, values: torch.Tensor) -> torch.Tensor:
        """The view's output (C or F, z, y, x) on the image's own grid (linear)."""
        return _warp(values, np.linalg.inv(self._forward()), border="border") if self.moves else values

    def reach(self, shape: tuple[int, ...]) -> torch.Tensor | None:
        """(z, y, x) bool: what the view saw of the image, or None for everything. Elsewhere it does not vote."""
        import torch

        if not self.moves:
            return None
        inside = _warp(torch.ones((1, *shape)), self._forward(), border="zeros") > 0.999
        return _warp(inside.float(), np.linalg.inv(self._forward()), border="zeros")[0] > 0.999

    def _forward(self) -> np.ndarray:
        """4 x 4 in centred voxels (z, y, x)."""
        matrix = np.eye(4)
        matrix[:3, :3] = np.eye(3) if self.matrix is None else np.asarray(self.matrix)
        matrix[:3, 3] = self.shift
        return matrix


def _warp(values: torch.Tensor, matrix: np.ndarray, border: str) -> torch.Tensor:
    """Sample (c, z, y, x) at ``matrix @ voxel`` (centred voxels), a few channels at a time."""
    import torch
    import torch.nn.functional as functional

    shape = values.shape[1:]
    half = np.array([(n - 1) / 2 if n > 1 else 1.0 for n in shape])
    # grid_sample wants x first, in units of half the extent between corner voxel centres
    scaled = matrix.copy()
    scaled[:3, :3] = matrix[:3, :3] * half[None, :] / half[:, None]
    scaled[:3, 3] = matrix[:3, 3] / half
    swapped = scaled[[2, 1, 0], :][:, [2, 1, 0, 3]]
    theta = torch.tensor(swapped[None], dtype=torch.float32, device=values.device)
    grid = functional.affine_grid(theta, [1, 1, *shape], align_corners=True)
    result = torch.empty_like(values)
    for part, into in zip(torch.split(values, 8), torch.split(result, 8), strict=True):
        into[:] = functional.grid_sample(
            part[None].float(), grid, mode="bilinear", padding_mode=border, align_corners=True
        )[0]
    return result


def _noise(deviation: float, seed: int) -> Callable[[torch.Tensor], torch.Tensor]:
    def add(data: torch.Tensor) -> torch.Tensor:
        import torch

        generator = torch.Generator().manual_seed(seed)
        noise = torch.randn(data.shape, generator=generator) * deviation
        return data + noise.to(data.device)

    return add


def _gamma(exponent: float) -> Callable[[torch.Tensor], torch.Tensor]:
    def change(data: torch.Tensor) -> torch.Tensor:
        low = data.amin(dim=(1, 2, 3), keepdim=True)
        span = (data.amax(dim=(1, 2, 3), keepdim=True) - low).clamp_min(1e-7)
        changed: torch.Tensor = ((data - low) / span) ** exponent * span + low
        return changed

    return change


def _rotation(degrees: float) -> tuple[tuple[float, float, float], ...]:
    """About the z axis of the network's grid: in plane for 2d networks, and where spacing is isotropic."""
    c, s = float(np.cos(np.radians(degrees))), float(np.sin(np.radians(degrees)))
    return ((1.0, 0.0, 0.0), (0.0, c, -s), (0.0, s, c))


def _scale(factor: float) -> tuple[tuple[float, float, float], ...]:
    return ((factor, 0.0, 0.0), (0.0, factor, 0.0), (0.0, 0.0, factor))


def standard_views(count: int, flat: bool = False) -> tuple[View, ...]:
    """The first ``count`` views, most useful first; ``flat`` (2d networks) keeps them within the plane.

    Noise in units of the normalised image (standard deviations of the training foreground).
    """
    third = 0.0 if flat else 0.5
    views = [
        View("shift", shift=(third, 0.5, 0.5)),
        View("noise", intensity=_noise(0.1, seed=1)),
        View("contrast +", intensity=_gamma(0.85)),
        View("scale +", matrix=((1.0, 0, 0), (0, 1.05, 0), (0, 0, 1.05)) if flat else _scale(1.05)),
        View("rotation", matrix=_rotation(5.0)),
        View("contrast -", intensity=_gamma(1.2)),
        View("shift back", shift=(-third, -0.4, 0.3)),
        View("rotation back", matrix=_rotation(-5.0)),
    ]
    more = range(2, 2 + max(count - len(views), 0))
    views += [View(f"noise {seed}", intensity=_noise(0.1, seed=seed)) for seed in more]
    return tuple(views[:count])
