"""A trained nnU-Net model folder, loaded, and the sweep of its patch over an image."""

from __future__ import annotations

import contextlib
import inspect
import io
import warnings
from collections.abc import Iterator, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch

from activeseg.core.errors import ModelError
from activeseg.segmenters.nnunet.checkpoint_file import Checkpoint, read_checkpoint
from activeseg.segmenters.nnunet.checkpoint_pickle import unusable
from activeseg.segmenters.nnunet.model_folder_check import ModelFiles, check_model_folder
from activeseg.segmenters.nnunet.trusted_code import TRUSTED_CODE, trusted_code
from activeseg.system.switches import switches_off


@dataclass
class Network:
    """One nnU-Net model with the weights of all its folds; wraps the original ``nnUNetPredictor``.

    Attributes
    ----------
    predictor : nnunetv2's predictor: plans, label manager, network
    folds : names of the trained members, in the order of their weights
    bf16_pays : filled by the first fast sweep on a CPU: whether bfloat16 is quicker there
    autocast : whether exact mode computes in float16 on a GPU, as nnU-Net does; without it as on a CPU, for comparisons
    """

    folder: Path
    predictor: Any
    folds: tuple[str, ...]
    device: torch.device
    bf16_pays: bool | None = None
    autocast: bool = True
    _loaded: int | None = field(default=None, repr=False)

    @classmethod
    def load(
        cls,
        folder: Path,
        folds: Sequence[int | str] | None = None,
        device: torch.device | str = "cpu",
        checkpoint: str = "checkpoint_final.pth",
        step_size: float = 0.5,
    ) -> Network:
        """Load a folder that nnU-Net v2 trained (``plans.json``, ``dataset.json``, ``fold_*/``).

        ``folds`` None takes all that are there. Raises ModelError: incomplete, unsafe, damaged or unsupported.
        """
        with switches_off():
            return cls._load(Path(folder), folds, torch.device(device), checkpoint, step_size)

    @classmethod
    def _load(
        cls, folder: Path, folds: Sequence[int | str] | None, device: torch.device, checkpoint: str, step_size: float
    ) -> Network:
        from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

        model = check_model_folder(folder)
        names = model_folds(folder, checkpoint) if folds is None else [str(f) for f in folds]
        members = [read_checkpoint(model.folder / f"fold_{name}" / checkpoint) for name in names]
        with _quiet():
            predictor = nnUNetPredictor(
                tile_step_size=step_size,
                use_mirroring=False,
                perform_everything_on_device=device.type == "cuda",
                device=device,
                allow_tqdm=False,
            )
            first = members[0]
            plans, configuration = managers(model, first)
            check_network(model, first)
            network = _built(model, first, trainer_class(first))
            for member in members:
                check_weights_fit(network, member)
            parameters = [_loaded(member) for member in members]
            network.load_state_dict(parameters[0])
            predictor.manual_initialization(
                network, plans, configuration, parameters, model.dataset, first.trainer, first.mirror_axes
            )
        predictor.network = predictor.network.to(device).eval()
        return cls(model.folder, predictor, tuple(names), device)

    @property
    def patch(self) -> tuple[int, ...]:
        return tuple(self.predictor.configuration_manager.patch_size)

    @property
    def heads(self) -> int:
        """How many output channels: classes with background, or regions."""
        return int(self.predictor.label_manager.num_segmentation_heads)

    @property
    def memory_bytes(self) -> int:
        """What the weights of all members and the network itself take."""
        members = [*self.predictor.list_of_parameters, self.predictor.network.state_dict()]
        return sum(tensor.numel() * tensor.element_size() for weights in members for tensor in weights.values())

    @property
    def has_regions(self) -> bool:
        return bool(self.predictor.label_manager.has_regions)

    @property
    def mirror_axes(self) -> tuple[int, ...] | None:
        """Axes that training mirrored, so that test-time mirroring is legitimate."""
        axes = self.predictor.allowed_mirroring_axes
        return tuple(axes) if axes else None

    def use_fold(self, index: int) -> None:
        """Put the weights of that trained member into the network."""
        if self._loaded != index:
            self.predictor.network.load_state_dict(self.predictor.list_of_parameters[index])
            self._loaded = index

    @property
    def head(self) -> torch.nn.Module | None:
        """The last layer when it is a 1x1x1 convolution on decoder features, else None."""
        decoder = getattr(self.predictor.network, "decoder", None)
        layers = getattr(decoder, "seg_layers", None)
        if layers is None or len(layers) == 0:
            return None
        last = layers[-1]
        plain = isinstance(last, torch.nn.Conv2d | torch.nn.Conv3d) and all(k == 1 for k in last.kernel_size)
        return last if plain and last.groups == 1 else None

    def head_weights(self) -> tuple[torch.Tensor, torch.Tensor]:
        """(C, F) weights and (C,) bias of the head of the member that is loaded, float32 copies."""
        head = self.head
        assert head is not None
        parameters = dict(head.named_parameters())
        weight = parameters["weight"].detach().float().flatten(1).clone()
        bias = parameters.get("bias")
        return weight, torch.zeros(len(weight), device=weight.device) if bias is None else bias.detach().float().clone()


def managers(model: ModelFiles, member: Checkpoint) -> tuple[Any, Any]:
    """nnU-Net's plans manager, and its manager of the configuration that the member was trained with.

    Raises ModelError when the plans have no such configuration, or it needs another network before it.
    """
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    if member.configuration not in model.configurations:
        raise ModelError(
            f"The checkpoint '{member.path.parent.name}/{member.path.name}' was trained with the configuration "
            f"'{member.configuration}', but plans.json has only {', '.join(model.configurations)}.",
            "Copy the model's folder again.",
            file=str(member.path),
            key="init_args.configuration",
        )
    previous = model.configurations[member.configuration].get("previous_stage")
    if previous is not None:
        raise ModelError(
            f"{model.folder} is the second stage of a cascade (it needs '{previous}' first), which is not supported.",
            "Use the model's 3d_fullres or 3d_lowres configuration.",
        )
    plans = PlansManager({**model.plans, "configurations": deepcopy(model.configurations)})
    return plans, plans.get_configuration(member.configuration)


def check_network(model: ModelFiles, member: Checkpoint) -> None:
    """Raise ModelError when nnU-Net cannot build the network that the member was trained as, or when it is another
    than that of the member's weights. It is built without memory, whatever size the plans announce, except where it is
    code that the user trusts, which may not know how."""
    described = model.configurations.get(member.configuration, {}).get("architecture") or {}
    own = {member.trainer, described.get("network_class_name")} & trusted_code()
    with torch.device("cpu" if own else "meta"), _quiet():
        check_weights_fit(_built(model, member, trainer_class(member)), member)


def _built(model: ModelFiles, member: Checkpoint, trainer: Any) -> torch.nn.Module:
    from nnunetv2.utilities.label_handling.label_handling import determine_num_input_channels

    plans, configuration = managers(model, member)
    inputs = determine_num_input_channels(plans, configuration, model.dataset)
    outputs = plans.get_label_manager(model.dataset).num_segmentation_heads
    names = inspect.signature(trainer.build_network_architecture).parameters
    described = (
        (plans, configuration)
        if "plans_manager" in names
        else (
            configuration.network_arch_class_name,
            configuration.network_arch_init_kwargs,
            configuration.network_arch_init_kwargs_req_import,
        )
    )
    try:
        network: torch.nn.Module = trainer.build_network_architecture(
            *described, inputs, outputs, enable_deep_supervision=False
        )
    except (RuntimeError, ImportError, TypeError, ValueError, KeyError, AttributeError, AssertionError) as error:
        raise ModelError(
            f"nnU-Net could not build the network of the model in {model.folder}: {_first_line(error)}",
            "The model may need another version of nnU-Net, or a trainer that is not installed.",
        ) from error
    return network


def _loaded(member: Checkpoint) -> dict[str, torch.Tensor]:
    """A member's weights. Raises ModelError when they are damaged, or are no numbers."""
    weights = member.load()
    for name, tensor in weights.items():
        if not bool(torch.isfinite(tensor).all()):
            raise ModelError(
                f"The weights in '{member.path.parent.name}/{member.path.name}' are no numbers: '{name}' has infinite "
                "ones or NaN.",
                "Copy the model's folder again; the training that made it may have diverged.",
                file=str(member.path),
                key=name,
            )
    return weights


def check_weights_fit(network: torch.nn.Module, member: Checkpoint) -> None:
    """Raise ModelError when a checkpoint does not hold exactly the network's weights."""
    wanted = {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}
    given = {name: tensor.shape for name, tensor in member.weights.items()}
    for name in sorted({*wanted, *given}):
        if wanted.get(name) != given.get(name):
            raise ModelError(
                f"The weights in '{member.path.parent.name}/{member.path.name}' are not those of the network in "
                f"plans.json: '{name}' has the shape {given.get(name)} instead of {wanted.get(name)}.",
                "Copy the model's folder again.",
                file=str(member.path),
                key=name,
            )


def trainer_class(member: Checkpoint) -> Any:
    """nnU-Net's or TotalSegmentator's class of the trainer that a checkpoint names; one of the user's own only where
    the user trusts its name (``TRUSTED_CODE``). Raises ModelError."""
    import nnunetv2
    from nnunetv2.training.nnUNetTrainer.nnUNetTrainer import nnUNetTrainer
    from nnunetv2.utilities.find_class_by_name import recursive_find_python_class
    from nnunetv2.utilities.find_objects import recursive_find_trainer_class_by_name

    name, why = member.trainer, "is a trainer that is not part of nnU-Net"
    found: Any = None
    try:
        if name in trusted_code():
            found = recursive_find_trainer_class_by_name(name)
        elif name.isidentifier():
            place = Path(nnunetv2.__path__[0])
            folder = str(place / "training" / "nnUNetTrainer")
            found = recursive_find_python_class(folder, name, "nnunetv2.training.nnUNetTrainer", str(place))
            if found is None:
                from totalsegmentator import custom_trainers

                found = getattr(custom_trainers, name, None)
    except (RuntimeError, ImportError) as error:
        why = f"could not be looked up ({_first_line(error)})"
    if isinstance(found, type) and issubclass(found, nnUNetTrainer):
        return found
    raise unusable(
        member.path,
        f"'trainer_name' is '{name}', which {why}, so it was not run",
        "trainer_name",
        "If it is installed here and you trust it, put its name into the environment variable "
        f"{TRUSTED_CODE} (and its folder into nnUNet_extTrainer).",
    )


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """nnU-Net prints, and warns of old plans."""
    with contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _first_line(error: Exception) -> str:
    return (str(error).splitlines() or [type(error).__name__])[0]


def model_folds(folder: Path, checkpoint: str = "checkpoint_final.pth") -> list[str]:
    """Names of the folds whose checkpoint is there (``0``..``4`` or ``all``). Raises ModelError when there is none.

    Like nnU-Net, ``fold_all`` counts only when there is no numbered fold.
    """
    found = [path.parent.name.removeprefix("fold_") for path in Path(folder).glob(f"fold_*/{checkpoint}")]
    numbered = sorted((name for name in found if name.isascii() and name.isdecimal()), key=int)
    if numbered or "all" in found:
        return numbered or ["all"]
    others = sorted(path.name for path in Path(folder).glob("fold_*/checkpoint_*.pth"))
    best = "checkpoint_best.pth" in others or "checkpoint_latest.pth" in others
    raise ModelError(
        f"{folder} is not a trained nnU-Net model: it has no fold_*/{checkpoint}"
        + (f", only {others[0]}: its training did not end." if best else "."),
        f"Finish the training, or give {others[0]} the name {checkpoint} to use it as it is."
        if best
        else "Choose the folder with plans.json, dataset.json and fold_0 in it "
        "(its name looks like nnUNetTrainer__nnUNetPlans__3d_fullres).",
        folder=str(folder),
    )
