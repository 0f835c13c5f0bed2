"""One original nnInteractive session: the network of a checked folder, the CT that it looks at, and its answers."""

from __future__ import annotations

import contextlib
import importlib.metadata
import io
import itertools
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from activeseg.core.errors import DeviceError, InputError, ModelError
from activeseg.core.geometry import Box, slices_of
from activeseg.core.prompt import Prompt, PromptKind
from activeseg.core.volume import Volume
from activeseg.segmenters.nninteractive.model_folder import NETWORK_OUTPUTS, InteractiveModel
from activeseg.segmenters.nnunet.checkpoint_file import Checkpoint
from activeseg.segmenters.nnunet.device import cpu_threads, resolve_device
from activeseg.segmenters.nnunet.network import check_weights_fit
from activeseg.system.switches import switches_off

DENSE_BYTES = 256 << 20
"""Prompts take up to so much as plain arrays; in larger images they are compressed, which is slower."""


class InteractiveSession:
    """The original ``nnInteractiveInferenceSession`` on one device.

    Load it and ask it in the same thread: torch's threads and cuDNN's plans belong to the one that set them.
    """

    def __init__(self, original: Any, model: InteractiveModel, threads: int) -> None:
        self._original = original
        self._model = model
        self._threads = threads
        self._ct: Volume | None = None

    @classmethod
    def load(cls, model: InteractiveModel, device: str = "auto", threads: int = 0) -> InteractiveSession:
        """Build the network and load its weights.

        Parameters
        ----------
        device
            As in ``Settings``.
        threads
            Of the CPU; 0 is torch's default.

        Raises
        ------
        DeviceError
            The device is not there, or has too little memory.
        ModelError
            The weights are damaged, not those of the network, or need a newer package.
        """
        place = resolve_device(device)
        _check_version(model)
        with switches_off(), _contained(threads), _memory_of(place):
            from nnInteractive.inference.inference_session import nnInteractiveInferenceSession

            original = nnInteractiveInferenceSession(
                device=place, torch_n_threads=torch.get_num_threads(), enable_undo=False, interactions_storage="blosc2"
            )
            _initialize(original, model, place)
        _check_channels(model, original)
        return cls(original, model, threads)

    @property
    def device(self) -> str:
        """``cpu``, ``cuda`` or ``mps``."""
        return str(self._original.device.type)

    @property
    def supported(self) -> frozenset[PromptKind]:
        """The kinds of prompts that the weights were trained with."""
        names = {"points": PromptKind.POINT, "scribble": PromptKind.SCRIBBLE, "lasso": PromptKind.LASSO}
        told = self._original.supported_interactions
        boxes = {PromptKind.BOX} if told.get("bbox2d") or told.get("bbox3d") else set()
        return frozenset({kind for name, kind in names.items() if told.get(name)} | boxes)

    @property
    def memory_bytes(self) -> int:
        """What stays in memory between prompts: weights, the image, and the prompts' arrays."""
        kept = sum(int(t.numel() * t.element_size()) for t in self._original.network.state_dict().values())
        for array in (self._original.preprocessed_image, self._original.interactions, self._original.target_buffer):
            kept += 0 if array is None else int(getattr(array, "cbytes", 0) or array.nbytes)
        return kept

    def answer(
        self, ct: Volume, mask: npt.NDArray[np.bool_], box_kji: Box, prompts: Sequence[tuple[Prompt, bool]]
    ) -> npt.NDArray[np.bool_]:
        """The object within a box, after all prompts; without any the mask itself is refined.

        Parameters
        ----------
        ct
            The whole image. While it stays the same object it is prepared once.
        mask
            (k, j, i) over the box: the object as it is now.
        prompts
            Each with whether its voxels belong to the object. The last one is answered, those before it are known.

        Raises
        ------
        DeviceError
            The device has too little memory.
        InputError
            The image has one value everywhere, the weights know no such prompt, or mask and prompts are empty.
        """
        for prompt, _ in prompts:
            if prompt.kind not in self.supported:
                known = ", ".join(sorted(kind.value for kind in self.supported))
                raise InputError(f"These weights of nnInteractive take no {prompt.kind.value}.", f"They take: {known}.")
        if not prompts and not mask.any():
            raise InputError("The structure is not in the box, so there is nothing to refine.", "Give a prompt.")
        try:
            with _contained(self._threads), _memory_of(self._original.device):
                self._look_at(ct)
                whole = np.zeros(ct.geometry.shape_kji, np.uint8)
                whole[slices_of(box_kji)] = mask
                around = prompts[-1][0].box_kji if prompts else _box_of(mask, box_kji)
                self._original.set_do_autozoom(not self._reaches(box_kji, around))
                self._original.add_initial_seg_interaction(whole, run_prediction=not prompts)
                for number, (prompt, include) in enumerate(prompts, 1):
                    self._tell(prompt, include, answer=number == len(prompts))
                return np.array(self._original.target_buffer[slices_of(box_kji)] > 0)
        except BaseException:
            self._ct = None  # what the session holds may be half done
            raise

    def _look_at(self, ct: Volume) -> None:
        if self._ct is not None and self._ct.array is ct.array:
            return
        if ct.array.min() == ct.array.max():
            raise InputError("The CT has the same value everywhere, so there is nothing to see in it.")
        original = self._original
        dense = original.num_interaction_channels * 2 * ct.array.size <= DENSE_BYTES
        original.interactions_storage = "tensor" if dense else "blosc2"
        original.set_image(ct.array[None])
        original.set_target_buffer(np.zeros(ct.geometry.shape_kji, np.uint8))
        self._ct = ct

    def _reaches(self, box_kji: Box, around_kji: Box) -> bool:
        """Whether the network's patch in the middle of ``around_kji`` covers the box: it need not look from further."""
        sides = zip(box_kji, around_kji, self._model.patch, strict=True)
        return all(
            (low + high) // 2 - side // 2 <= first and last <= (low + high) // 2 + side // 2
            for (first, last), (low, high), side in sides
        )

    def _tell(self, prompt: Prompt, include: bool, answer: bool) -> None:
        original = self._original
        if prompt.kind is PromptKind.POINT:
            original.add_point_interaction(prompt.points_kji[0], include, run_prediction=answer)
        elif prompt.kind is PromptKind.BOX:
            box = prompt.box_kji if original.supported_interactions.get("bbox3d") else middle_slice(prompt.box_kji)
            original.add_bbox_interaction([list(side) for side in box], include, run_prediction=answer)
        elif prompt.kind is PromptKind.LASSO:
            crop, at = _crop(prompt, (1, 1, 1), original.original_image_shape[1:])
            original.add_lasso_interaction(crop, include, run_prediction=answer, interaction_bbox=at)
        else:
            crop, at = _crop(prompt, self._model.scribble_thickness, original.original_image_shape[1:])
            original.add_scribble_interaction(crop, include, run_prediction=answer, interaction_bbox=at)


def _box_of(mask: npt.NDArray[np.bool_], box_kji: Box) -> Box:
    """The smallest box around a mask that lies over ``box_kji``."""
    at = np.argwhere(mask)
    low, high = at.min(axis=0).tolist(), (at.max(axis=0) + 1).tolist()
    k, j, i = ((a + c, b + c) for a, b, (c, _) in zip(low, high, box_kji, strict=True))
    return k, j, i


def middle_slice(box_kji: Box) -> Box:
    """The box's slice in its middle, across its shortest side: the weights know boxes in one slice only."""
    sides = [last - first for first, last in box_kji]
    thin = sides.index(min(sides))
    middle = sum(box_kji[thin]) // 2
    k, j, i = ((middle, middle + 1) if axis == thin else side for axis, side in enumerate(box_kji))
    return k, j, i


def _crop(
    prompt: Prompt, thickness: tuple[int, int, int], shape: Sequence[int]
) -> tuple[npt.NDArray[np.uint8], list[list[int]]]:
    """A scribble or lasso as an array around it, and where that lies; thicker only within its own planes."""
    thick = [side if last - first > 1 else 1 for side, (first, last) in zip(thickness, prompt.box_kji, strict=True)]
    at = [
        [max(first - (side - 1) // 2, 0), min(last + side // 2, most)]
        for (first, last), side, most in zip(prompt.box_kji, thick, shape, strict=True)
    ]
    crop = np.zeros([last - first for first, last in at], np.uint8)
    voxels = prompt.voxels_kji()
    for offset in itertools.product(*(range(-((side - 1) // 2), side // 2 + 1) for side in thick)):
        moved = voxels + offset
        inside = moved[((moved >= 0) & (moved < shape)).all(axis=1)]
        crop[tuple((inside - [first for first, _ in at]).T)] = 1
    return crop, at


def _initialize(original: Any, model: InteractiveModel, device: torch.device) -> None:
    """Give the original session what it would read from the folder itself. Raises ModelError."""
    from nnInteractive.interaction.point import PointInteraction_stub
    from nnInteractive.trainer.nnInteractiveTrainer import nnInteractiveTrainer_stub
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    checkpoint = model.checkpoint
    plans = PlansManager(dict(model.plans))
    configuration = plans.get_configuration(checkpoint.configuration)
    artifacts = {
        "capability_content": dict(model.abilities),
        "point_interaction": PointInteraction_stub(model.point_radius, True),
        "preferred_scribble_thickness": list(model.scribble_thickness),
        "interaction_decay": model.decay,
        "pad_mode_data": "constant",
        "network": None,
        "plans_manager": plans,
        "configuration_manager": configuration,
        "dataset_json": dict(model.dataset),
        "trainer_name": checkpoint.trainer,
        "label_manager": plans.get_label_manager(dict(model.dataset)),
        "license": "",
    }

    def built() -> torch.nn.Module:
        channels = 1 + original.num_interaction_channels
        network: torch.nn.Module = nnInteractiveTrainer_stub.build_network_architecture(
            plans, configuration, channels, NETWORK_OUTPUTS, enable_deep_supervision=False
        )
        return network

    try:
        original.initialize_from_loaded_artifacts(artifacts)
        with torch.device("meta"):  # without memory, until it is known that the file holds as much
            check_weights_fit(built(), checkpoint)
        network = built()
    except (RuntimeError, ImportError, TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        said = (str(error).splitlines() or [type(error).__name__])[0]
        raise ModelError(f"nnInteractive cannot be built for its weights: {said}", "Copy the folder again.") from error
    network.load_state_dict(_weights(checkpoint))
    original.network = network.to(device).eval()


def _weights(checkpoint: Checkpoint) -> dict[str, torch.Tensor]:
    weights = checkpoint.load()
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"nnInteractive's weights are no numbers: '{name}' has infinite ones or NaN.",
                "Copy the folder again.",
                file=str(checkpoint.path),
                key=name,
            )
    return weights


def _check_channels(model: InteractiveModel, original: Any) -> None:
    """Raises ModelError for a prompt that would be written outside of the network's channels."""
    named = [number for pair in original.channel_mapping.values() for number in np.atleast_1d(pair)]
    if not all(0 <= number < original.num_interaction_channels for number in named):
        raise ModelError(
            f"nnInteractive's weights name the channels {sorted({int(n) for n in named})} for prompts, but they have "
            f"{original.num_interaction_channels}.",
            "Copy the folder again.",
            folder=str(model.folder),
        )


def _check_version(model: InteractiveModel) -> None:
    wanted = str(model.abilities.get("inference_class_min_version", "0"))
    version = importlib.metadata.version("nninteractive")

    def numbers(text: str) -> list[int]:
        return [int(part) for part in text.split(".")[:3] if part.isdecimal()]

    if numbers(wanted) > numbers(version):
        raise ModelError(
            f"These weights need nnInteractive {wanted} or newer; {version} is installed.", "Use older weights."
        )


@contextlib.contextmanager
def _contained(threads: int) -> Iterator[None]:
    """The original session prints all the time, changes switches of torch that others rely on, and draws lots where it
    looks at an object in parts: within it always the same ones."""
    benchmark, lots = torch.backends.cudnn.benchmark, np.random.get_state()
    with cpu_threads(threads), contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        used = torch.get_num_threads()
        np.random.seed(0)
        try:
            yield
        finally:
            np.random.set_state(lots)
            torch.set_num_threads(used)
            torch.backends.cudnn.benchmark = benchmark


@contextlib.contextmanager
def _memory_of(device: torch.device) -> Iterator[None]:
    try:
        yield
    except torch.OutOfMemoryError as error:
        raise DeviceError(
            f"nnInteractive needs more memory than is free on the device '{device.type}'.",
            "Close other programs that use it, or choose the device 'cpu', which takes minutes.",
            setting="device",
        ) from error
