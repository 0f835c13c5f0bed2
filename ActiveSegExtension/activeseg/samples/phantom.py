"""CT-like phantoms of thorax and abdomen with known truth, for the demo, the tests and the network that ships.

The anatomy is a set of shapes in RAS millimetres (x to the patient's right, y anterior, z superior), so that a seed is
the same person on every grid. Tissue values are typical attenuations at 120 kV: round figures, not measurements.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

import numpy as np
import numpy.typing as npt
from scipy.ndimage import gaussian_filter

from activeseg.core.errors import InputError
from activeseg.core.geometry import Geometry
from activeseg.core.labels import Code, Label, LabelSchema, Terminology
from activeseg.core.volume import Volume

Field = npt.NDArray[np.float32]
Mask = npt.NDArray[np.bool_]

FIELD_OF_VIEW_RAS_MM = (352.0, 288.0, 224.0)
SPACING_MM = (4.0, 4.0, 4.0)


class Domain(StrEnum):
    """Portal venous contrast at a normal dose, or a native scan of a smaller patient at a low dose."""

    CONTRAST = "contrast"
    NATIVE = "native"


@dataclass(frozen=True)
class Phantom:
    """``ct`` is int16 HU, ``labels`` uint8 values of ``PHANTOM_SCHEMA``; both on one grid, axes (k, j, i)."""

    ct: Volume
    labels: Volume
    domain: Domain
    seed: int


def _organ(value: str, meaning: str, side: str | None = None) -> Terminology:
    sides = {"right": Code("SCT", "24028007", "Right"), "left": Code("SCT", "7771000", "Left")}
    return Terminology(
        Code("SCT", "123037004", "Anatomical Structure"), Code("SCT", value, meaning), sides[side] if side else None
    )


PHANTOM_SCHEMA = LabelSchema(
    (
        Label(1, "spleen", (157, 108, 162), _organ("78961009", "Spleen")),
        Label(2, "kidney_right", (185, 102, 83), _organ("64033007", "Kidney", "right")),
        Label(3, "kidney_left", (212, 143, 118), _organ("64033007", "Kidney", "left")),
        Label(4, "gallbladder", (139, 150, 98), _organ("28231008", "Gallbladder")),
        Label(5, "liver", (221, 130, 101), _organ("10200004", "Liver")),
        Label(6, "stomach", (216, 132, 105), _organ("69695003", "Stomach")),
        Label(7, "aorta", (224, 97, 76), _organ("15825003", "Aorta")),
        Label(8, "heart", (206, 110, 84), _organ("80891009", "Heart")),
        Label(9, "vertebrae", (226, 202, 134), _organ("51282000", "Vertebra")),
        Label(10, "lung_right", (172, 138, 115), _organ("39607008", "Lung", "right")),
        Label(11, "lung_left", (202, 164, 140), _organ("39607008", "Lung", "left")),
    )
)


@dataclass(frozen=True)
class Tissues:
    """HU of tissues, what the scanner adds (blur in mm, noise and slow drift in HU), and the size of the organs."""

    muscle: float
    liver: float
    spleen: float
    renal_cortex: float
    renal_medulla: float
    bile: float
    stomach: float
    wall: float
    pancreas: float
    blood: float
    myocardium: float
    cancellous: float
    disc: float
    spread: float
    blur_mm: float
    noise: float
    drift: float
    organ_scale: float


TISSUES = {
    Domain.CONTRAST: Tissues(
        muscle=60, liver=112, spleen=128, renal_cortex=195, renal_medulla=160, bile=8, stomach=25, wall=80,
        pancreas=100, blood=160, myocardium=115, cancellous=210, disc=85,
        spread=7, blur_mm=1.6, noise=11, drift=3, organ_scale=1.0,
    ),
    Domain.NATIVE: Tissues(
        muscle=54, liver=50, spleen=46, renal_cortex=32, renal_medulla=28, bile=10, stomach=28, wall=40,
        pancreas=40, blood=40, myocardium=44, cancellous=160, disc=75,
        spread=9, blur_mm=2.4, noise=36, drift=16, organ_scale=0.85,
    ),
}  # fmt: skip
AIR, LUNG, FAT, SKIN, CORTICAL, CORD, FAECES, VESSEL = -1000.0, -830.0, -102.0, 15.0, 720.0, 30.0, -60.0, 20.0


def phantom_geometry(
    spacing_xyz: Sequence[float] = SPACING_MM,
    direction_ras: npt.ArrayLike | None = None,
    shape_kji: Sequence[int] | None = None,
    centre_ras: Sequence[float] = (0.0, 0.0, 0.0),
) -> Geometry:
    """A grid around the phantom, 88 x 72 x 56 voxels (i, j, k) of 4 mm by default, axes along R, A and S.

    ``direction_ras`` (3 x 3) has the directions of i, j, k in RAS as its columns: flips, axis swaps and oblique scans.
    Without ``shape_kji`` the grid is just large enough for the whole field of view.
    """
    spacing = np.asarray(spacing_xyz, float)
    axes = np.eye(3) if direction_ras is None else np.asarray(direction_ras, float)
    if axes.shape != (3, 3):
        raise InputError(f"The direction has shape {axes.shape}; it must be 3 x 3.")
    if shape_kji is None:
        extent = np.abs(axes).T @ np.asarray(FIELD_OF_VIEW_RAS_MM) / spacing
        shape_kji = [max(1, math.ceil(round(float(n), 3))) for n in extent[::-1]]
    matrix = np.eye(4)
    matrix[:3, :3] = axes * spacing
    middle_ijk = (np.asarray(shape_kji, float)[::-1] - 1) / 2
    matrix[:3, 3] = np.asarray(centre_ras, float) - matrix[:3, :3] @ middle_ijk
    return Geometry.from_ijk_to_ras(matrix, shape_kji)


def make_phantom(
    domain: Domain, seed: int, *, geometry: Geometry | None = None, noise: bool = True, name: str = ""
) -> Phantom:
    """One person: anatomy from ``seed`` alone, tissue values and image quality from ``domain``.

    The same arguments give the same voxels. On another ``geometry`` (``phantom_geometry``) it is the same person,
    sampled there; ``noise=False`` leaves out the noise, which belongs to the grid and not to the person.
    """
    geometry = geometry or phantom_geometry()
    tissues = TISSUES[domain]
    person = _Person(np.random.default_rng([seed, 1]), tissues, _ras_coordinates(geometry))
    hu, labels = person.paint()
    spacing_kji = np.asarray(geometry.spacing_xyz[::-1])
    # A scanner averages over a voxel: the blur is never narrower than about half of one.
    hu = gaussian_filter(hu, np.hypot(tissues.blur_mm, 0.3 * spacing_kji) / spacing_kji, mode="nearest")
    if noise:
        hu += tissues.noise * _correlated_noise(np.random.default_rng([seed, 2]), geometry.shape_kji)
    ct = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    name = name or f"phantom_{domain}_{seed}"
    return Phantom(Volume(ct, geometry, name), Volume(labels, geometry, name), domain, seed)


def _ras_coordinates(geometry: Geometry) -> tuple[Field, Field, Field]:
    """R, A, S in mm of every voxel, each (k, j, i)."""
    matrix = geometry.ijk_to_ras
    k, j, i = (np.arange(n, dtype=np.float32) for n in geometry.shape_kji)
    fields = []
    for row in matrix[:3].astype(np.float32):
        fields.append(row[0] * i[None, None, :] + row[1] * j[None, :, None] + row[2] * k[:, None, None] + row[3])
    return fields[0], fields[1], fields[2]


def _correlated_noise(rng: np.random.Generator, shape_kji: tuple[int, int, int]) -> Field:
    """Mean 0, standard deviation 1, correlated in the slice as filtered back projection leaves it."""
    white = rng.standard_normal(shape_kji, dtype=np.float32)
    sigma_kji = (0.25, 0.55, 0.55)
    taps = [gaussian_filter(np.eye(1, 17, 8)[0], s) for s in sigma_kji]
    gain = math.prod(float(np.sqrt((t**2).sum())) for t in taps)
    return np.asarray(gaussian_filter(white, sigma_kji, mode="wrap") / gain, np.float32)


class _Waves:
    """A smooth random function of position, the same on every grid: cosines of the given wavelengths (mm), sd 1."""

    def __init__(self, rng: np.random.Generator, shortest: float, longest: float, count: int = 10) -> None:
        towards = rng.standard_normal((count, 3))
        towards /= np.linalg.norm(towards, axis=1, keepdims=True)
        self.wave = (towards * (2 * np.pi / rng.uniform(shortest, longest, (count, 1)))).astype(np.float32)
        self.phase = rng.uniform(0, 2 * np.pi, count).astype(np.float32)

    def __call__(self, x: Field, y: Field, z: Field) -> Field:
        total = np.zeros(np.broadcast_shapes(x.shape, y.shape, z.shape), np.float32)
        for (a, b, c), phase in zip(self.wave, self.phase, strict=True):
            total += np.cos(a * x + b * y + c * z + phase)
        return total * np.float32(math.sqrt(2 / len(self.phase)))


class _Person:
    """One seed's body at given points. Random numbers are drawn in an order that does not depend on the grid.

    ``hu`` (float32) and ``labels`` (uint8) fill up from the outside inwards: what is put later lies on top.
    """

    def __init__(self, rng: np.random.Generator, tissues: Tissues, ras: tuple[Field, Field, Field]) -> None:
        self.rng, self.tissues, self.ras = rng, tissues, ras
        warp = [_Waves(rng, 90, 260) for _ in range(3)]
        texture, drift = _Waves(rng, 9, 30, 16), _Waves(rng, 200, 600, 6)
        bowel = _Waves(rng, 38, 70, 14)
        vessels = [_Waves(rng, 40, 90, 8) for _ in range(2)]
        self.half_width = 148 * rng.uniform(0.93, 1.07)
        self.half_depth = 108 * rng.uniform(0.94, 1.05)
        self.fat = rng.uniform(9, 24)
        shift, tilt = rng.normal(0, 4, 3), np.float32(rng.normal(0, 0.03))
        self.table_y = np.float32(shift[1] - self.half_depth - 9)

        x = ras[0] - np.float32(shift[0]) + 5 * warp[0](*ras)
        y = ras[1] - np.float32(shift[1]) + 4 * warp[1](*ras)
        self.z = z = ras[2] - np.float32(shift[2]) + 6 * warp[2](*ras)
        self.x, self.y = x, y = x + tilt * y, y - tilt * x
        self.texture, self.drift, self.loops = texture(x, y, z), drift(*ras), bowel(x, y, z)
        # Small near the curves on which two smooth functions vanish together: branching tubes.
        self.branches = np.hypot(vessels[0](x, y, z), vessels[1](x, y, z))
        self.hu = np.full(x.shape, AIR, np.float32)
        self.labels = np.zeros(x.shape, np.uint8)
        self.under_fat = self.hull(3 + self.fat)
        self.cavity = self.hull(18 + self.fat)

    def paint(self) -> tuple[Field, npt.NDArray[np.uint8]]:
        """Everything, once."""
        self.table()
        self.body_wall()
        self.belly()
        self.chest()
        self.upper_belly()
        self.great_vessels()
        self.spine()
        body = self.hull(0)
        self.hu[body] += self.tissues.drift * self.drift[body]
        return self.hu, self.labels

    def put(self, mask: Mask, value: float, structure: str | None = None, rough: float = 6.0) -> None:
        """A tissue of about ``value`` HU with a texture of sd ``rough``, with a structure's label or none."""
        self.hu[mask] = value + self.rng.normal(0, self.tissues.spread) + rough * self.texture[mask]
        self.labels[mask] = PHANTOM_SCHEMA.named(structure).value if structure else 0

    def hull(self, margin: float) -> Mask:
        """Inside the body's outline moved inwards by ``margin`` mm; the back is flatter than the front."""
        a, b = self.half_width - margin, self.half_depth - margin
        return np.asarray((np.abs(self.x) / a) ** 2.4 + (np.abs(self.y) / b) ** np.where(self.y < 0, 2.9, 2.2) <= 1)

    def egg(
        self,
        centre: tuple[float, float, float],
        semi: tuple[float, float, float],
        turn: float = 0.0,
        lean: float = 0.0,
        wobble: float = 3.5,
    ) -> Field:
        """1 on an ellipsoid's surface, less inside; turned around z and leaning from z to x, in radians."""
        c = np.asarray(centre) + self.rng.normal(0, wobble, 3)
        s = np.asarray(semi) * self.tissues.organ_scale * (1 + self.rng.normal(0, 0.06, 3))
        u, v, w = self.x - np.float32(c[0]), self.y - np.float32(c[1]), self.z - np.float32(c[2])
        turn, lean = turn + self.rng.normal(0, 0.06), lean + self.rng.normal(0, 0.06)
        u, v = math.cos(turn) * u + math.sin(turn) * v, math.cos(turn) * v - math.sin(turn) * u
        u, w = math.cos(lean) * u + math.sin(lean) * w, math.cos(lean) * w - math.sin(lean) * u
        return np.asarray((u / s[0]) ** 2 + (v / s[1]) ** 2 + (w / s[2]) ** 2, np.float32)

    def table(self) -> None:
        """A carbon shell with foam inside. It is the scanner's, so it does not bend with the patient."""
        depth = self.table_y - self.ras[1]
        slab = (depth > 0) & (depth < 24) & (np.abs(self.ras[0]) < 168)
        self.hu[slab] = np.where((depth < 3) | (depth > 21), -350.0, -920.0)[slab]

    def body_wall(self) -> None:
        """Skin, fat, muscle, and ribs that run down towards the front."""
        self.put(self.hull(0), SKIN)
        self.put(self.hull(3), FAT, rough=5)
        self.put(self.under_fat, self.tissues.muscle)
        cage = self.hull(7 + self.fat) & ~self.hull(13 + self.fat)
        slope = self.z + 0.45 * self.y + 0.1 * np.abs(self.x)
        stripes = np.cos((slope + self.rng.uniform(0, 27)) * np.float32(2 * np.pi / 27)) > 0.45
        self.put(cage & stripes & (self.z > -45 - 0.5 * self.y), 380, rough=25)

    def belly(self) -> None:
        """Fat with loops of bowel in front, some with faeces or gas; back muscles and psoas at the spine."""
        x, y, z, t = self.x, self.y, self.z, self.tissues
        self.put(self.cavity, FAT, rough=7)
        front = self.cavity & (y > -20) & (z < 15)
        self.put(front & (self.loops > 0.25), t.wall, rough=8)
        self.put(front & (self.loops > 0.55), t.stomach, rough=12)
        self.put(front & (self.loops > 1.9), FAECES, rough=120)
        self.put(front & (self.loops > 2.3), AIR, rough=0)
        beside_spine = (y < -52) & (((np.abs(x) - 31) / 31) ** 2 + ((y + 82) / 24) ** 2 <= 1)
        self.put(self.under_fat & beside_spine, t.muscle, rough=10)
        psoas = (z < -25) & (((np.abs(x) - 32) / 15) ** 2 + ((y + 48) / 17) ** 2 <= 1)
        self.put(self.cavity & psoas, t.muscle, rough=10)

    def chest(self) -> None:
        """Lungs above the domes of the diaphragm and around the mediastinum; heart."""
        x, y, z, t = self.x, self.y, self.z, self.tissues
        breath = self.rng.normal(0, 7)
        self.crest = 44 + breath + self.rng.normal(0, 3)
        dome_right = self.crest - 0.0075 * ((x - 58) ** 2 + (y - 10) ** 2)
        dome_left = 34 + breath + self.rng.normal(0, 3) - 0.0075 * ((x + 58) ** 2 + (y - 10) ** 2)
        dome = np.where(x > 0, dome_right, dome_left)
        self.below = self.cavity & (z < dome - 4)
        middle = np.abs(x) <= 24 + 0.10 * np.maximum(y + 20, 0)
        chest = self.cavity & (z > dome - 4)
        self.put(chest, t.muscle)
        self.put(chest & middle & (y > -30), FAT, rough=10)
        air_space = self.cavity & (z > dome) & ~middle
        self.put(air_space & (x > 0), LUNG, "lung_right", 18)
        self.put(air_space & (x <= 0), LUNG, "lung_left", 18)
        from_hilum = np.hypot(np.abs(x) - 30, y + 5)
        self.hu[air_space & (self.branches < 0.30 - 0.0022 * from_hilum)] = VESSEL
        heart = self.egg((-16, 22, 84), (52, 40, 44), 0.5)
        self.put((heart <= 1) & (z > dome_left - 8) & self.cavity, t.myocardium, "heart")
        self.put((heart <= 0.62) & (z > dome_left) & (self.branches > 0.2), t.blood, "heart", 4)

    def upper_belly(self) -> None:
        """Liver with its vessels, stomach with a level of gas, pancreas, spleen, gallbladder, kidneys in their fat."""
        y, t = self.y, self.tissues
        inner = self.hull(20 + self.fat)
        liver = np.minimum(
            self.egg((58, 0, 2), (68, 74, 64), 0.2, -0.25), self.egg((-8, 34, 20), (60, 34, 26), -0.25, -0.3)
        )
        self.put((liver <= 1) & self.below & inner & (self.z > -78 + 0.25 * (78 - self.x)), t.liver, "liver")
        in_liver = self.labels == PHANTOM_SCHEMA.named("liver").value
        self.hu[(liver <= 0.8) & (self.branches < 0.22) & in_liver] += 0.6 * (t.blood - t.liver)
        stomach = self.egg((-46, 26, 4), (34, 30, 44), -0.3, 0.35)
        self.put((stomach <= 1) & self.below & inner, t.wall, "stomach")
        self.put((stomach <= 0.72) & self.below & inner, t.stomach, "stomach", 14)
        self.put((stomach <= 0.66) & self.below & inner & (y > 26 + self.rng.uniform(4, 16)), AIR, "stomach", 0)
        pancreas = self.egg((-14, -2, -22), (52, 10, 13), 0.15, 0.15)
        self.put((pancreas <= 1) & self.below, t.pancreas, rough=16)
        spleen = self.egg((-92, -34, 10), (25, 42, 44), -0.3, 0.15)
        self.put((spleen <= 1) & self.below & inner, t.spleen, "spleen")
        bile = self.egg((46, 42, -30), (14, 17, 27), 0.2, 0.2)
        self.put((bile <= 1.2) & inner, t.wall)
        self.put((bile <= 1) & inner, t.bile, "gallbladder", 3)
        for structure, side, height in (("kidney_right", 1, -50), ("kidney_left", -1, -40)):
            kidney = self.egg((side * 54, -42, height), (24, 28, 50), side * 0.5, -side * 0.18)
            sinus = self.egg((side * 42, -36, height), (13, 10, 20), side * 0.5, wobble=2)
            self.put((kidney <= 1.45) & self.cavity, FAT, rough=5)
            self.put((kidney <= 1) & (sinus > 1), t.renal_cortex, structure)
            self.put((kidney <= 0.55) & (sinus > 1), t.renal_medulla, structure)

    def great_vessels(self) -> None:
        """Inferior vena cava and aorta, in front of the spine, swinging to the same side."""
        x, y, z, t = self.x, self.y, self.z, self.tissues
        swing = 5 * np.sin((z + self.rng.uniform(-60, 60)) / 45)
        self.put((((x - 20 - swing) / 13) ** 2 + ((y + 22) / 9) ** 2 <= 1) & (z < self.crest), t.blood - 12, rough=3)
        calibre = self.rng.uniform(10, 12.5) * (1 + 0.0012 * z)
        self.put(((x + 13 + swing) / calibre) ** 2 + ((y + 22) / calibre) ** 2 <= 1, t.blood, "aorta", 3)

    def spine(self) -> None:
        """Vertebral bodies with discs between them, canal, arch, spinous and transverse processes."""
        x, y, z, t = self.x, self.y, self.z, self.tissues
        pitch, disc = self.rng.uniform(29, 33), self.rng.uniform(6, 8)
        level = np.mod(z + self.rng.uniform(0, pitch), np.float32(pitch))
        ring = (x / self.rng.uniform(20, 23)) ** 2 + ((y + 51) / self.rng.uniform(15.5, 17.5)) ** 2
        canal = (x / 10) ** 2 + ((y + 75) / 8.5) ** 2
        arch = (x / 16) ** 2 + ((y + 76) / 14) ** 2
        self.put((ring <= 1) & (level <= disc), t.disc)
        self.put((ring <= 1) & (level > disc), CORTICAL * 0.6, "vertebrae", 20)
        self.put((ring <= 0.74) & (level > disc + 2.5) & (level < pitch - 2.5), t.cancellous, "vertebrae", 25)
        spinous = (np.abs(x) < 5) & (y < -84) & (y > -102) & (level > disc + 2) & (level < disc + 19)
        transverse = (np.abs(x) < 37) & (np.abs(y + 74 + 0.1 * np.abs(x)) < 5) & (np.abs(level - disc - 11) < 5)
        self.put(((arch <= 1) & (level > disc - 3)) | spinous | transverse, CORTICAL * 0.55, "vertebrae", 30)
        self.put(canal <= 1, 5, rough=3)
        self.put(canal <= 0.4, CORD, rough=3)
