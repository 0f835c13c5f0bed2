"""Trains the network that ships: four members, seeds 0 to 3, on contrast phantoms, by nnU-Net's own training.

    .venv/bin/python Testing/train_demo_model.py [--out FOLDER] [--work FOLDER] [--epochs N] [--evaluate]

Writes an nnU-Net trained-model folder with the weights for inference only, measures it on phantoms it has not seen, and
writes the figures into ``training.json`` beside the folds. About 25 minutes on two idle cores with bfloat16. The
same seeds give the same model but for the rounding of other CPUs.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[1]
SHIPPED = REPOSITORY / "ActiveSegExtension" / "activeseg" / "resources" / "demo_model"
MEMBERS = 4
DATASET = "Dataset001_ActiveSegPhantoms"
PLANS, CONFIGURATION = "nnUNetPlans", "3d_fullres"
FEATURES = (8, 16, 32, 64)
PATCH_KJI, SHAPE_KJI = (40, 56, 64), (56, 72, 88)
SPACING_MM = 4.0
WINDOW_HU = (-400.0, 400.0)
TRAINING_SEEDS, VALIDATION_SEEDS, HELD_OUT_SEEDS = range(1000, 1032), range(1900, 1902), range(2000, 2006)
LARGEST_BYTES = 6_000_000


def dataset_json() -> dict:
    from activeseg.samples.phantom import PHANTOM_SCHEMA

    return {
        "channel_names": {"0": "CT"},
        "labels": {"background": 0, **{label.name: label.value for label in PHANTOM_SCHEMA.labels}},
        "numTraining": len(TRAINING_SEEDS) + len(VALIDATION_SEEDS),
        "file_ending": ".nii.gz",
        "overwrite_image_reader_writer": "NibabelIOWithReorient",
        "name": "ActiveSeg phantoms, contrast domain",
        "licence": "Apache-2.0",
    }


def plans() -> dict:
    """What nnU-Net's planner would write, for a network small enough to ship.

    The planner would take its HU window from all labelled voxels. Lungs among them widen it so much that the other
    organs become alike, and some members never find the small ones.
    """
    stages = len(FEATURES)
    labels = {"is_seg": True, "order": 1, "order_z": 0, "force_separate_z": None}
    image = {"is_seg": False, "order": 3, "order_z": 0, "force_separate_z": None}
    resample = "resample_data_or_seg_to_shape"
    low, high = WINDOW_HU
    intensities = {"max": 3071.0, "mean": 50.0, "median": 50.0, "min": -1024.0, "std": 120.0}
    intensities |= {"percentile_00_5": low, "percentile_99_5": high}
    return {
        "dataset_name": DATASET,
        "plans_name": PLANS,
        "original_median_spacing_after_transp": [SPACING_MM] * 3,
        "original_median_shape_after_transp": list(SHAPE_KJI),
        "image_reader_writer": "NibabelIOWithReorient",
        "transpose_forward": [0, 1, 2],
        "transpose_backward": [0, 1, 2],
        "experiment_planner_used": "ExperimentPlanner",
        "label_manager": "LabelManager",
        "foreground_intensity_properties_per_channel": {"0": intensities},
        "continue_training": False,
        "configurations": {
            CONFIGURATION: {
                "data_identifier": f"{PLANS}_{CONFIGURATION}",
                "preprocessor_name": "DefaultPreprocessor",
                "batch_size": 2,
                "patch_size": list(PATCH_KJI),
                "median_image_size_in_voxels": [float(n) for n in SHAPE_KJI],
                "spacing": [SPACING_MM] * 3,
                "normalization_schemes": ["CTNormalization"],
                "use_mask_for_norm": [False],
                "resampling_fn_data": resample,
                "resampling_fn_seg": resample,
                "resampling_fn_probabilities": resample,
                "resampling_fn_data_kwargs": image,
                "resampling_fn_seg_kwargs": labels,
                "resampling_fn_probabilities_kwargs": {**image, "order": 1},
                "architecture": {
                    "network_class_name": "dynamic_network_architectures.architectures.unet.PlainConvUNet",
                    "arch_kwargs": {
                        "n_stages": stages,
                        "features_per_stage": list(FEATURES),
                        "conv_op": "torch.nn.modules.conv.Conv3d",
                        "kernel_sizes": [[3, 3, 3]] * stages,
                        "strides": [[1, 1, 1]] + [[2, 2, 2]] * (stages - 1),
                        "n_conv_per_stage": [2] * stages,
                        "n_conv_per_stage_decoder": [2] * (stages - 1),
                        "conv_bias": True,
                        "norm_op": "torch.nn.modules.instancenorm.InstanceNorm3d",
                        "norm_op_kwargs": {"eps": 1e-5, "affine": True},
                        "dropout_op": None,
                        "dropout_op_kwargs": None,
                        "nonlin": "torch.nn.LeakyReLU",
                        "nonlin_kwargs": {"inplace": True},
                    },
                    "_kw_requires_import": ["conv_op", "norm_op", "dropout_op", "nonlin"],
                },
                "batch_dice": True,
            }
        },
    }


def prepare(work: Path) -> None:
    """Phantoms as nnU-Net raw data, then nnU-Net's own preprocessing."""
    import nibabel
    from nnunetv2.utilities.plans_handling.plans_handler import PlansManager

    from activeseg.samples.phantom import Domain, make_phantom

    raw, preprocessed = work / "raw" / DATASET, work / "preprocessed" / DATASET
    for folder in (raw / "imagesTr", raw / "labelsTr", preprocessed):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in (*TRAINING_SEEDS, *VALIDATION_SEEDS):
        phantom = make_phantom(Domain.CONTRAST, seed)
        affine = phantom.ct.geometry.ijk_to_ras
        ct, labels = phantom.ct.array, phantom.labels.array
        nibabel.save(nibabel.Nifti1Image(ct.transpose(), affine), raw / "imagesTr" / f"case_{seed}_0000.nii.gz")
        nibabel.save(nibabel.Nifti1Image(labels.transpose(), affine), raw / "labelsTr" / f"case_{seed}.nii.gz")
    contents = {"nnUNetPlans.json": plans(), "dataset.json": dataset_json()}
    contents["dataset_fingerprint.json"] = {}
    for name, value in contents.items():
        (preprocessed / name).write_text(json.dumps(value, indent=1))
    manager = PlansManager(contents["nnUNetPlans.json"])
    configuration = manager.get_configuration(CONFIGURATION)
    preprocessor = configuration.preprocessor_class(verbose=False)
    target = preprocessed / configuration.data_identifier
    target.mkdir(exist_ok=True)
    for label in sorted((raw / "labelsTr").glob("*.nii.gz")):
        case = label.name.removesuffix(".nii.gz")
        image = raw / "imagesTr" / f"{case}_0000.nii.gz"
        preprocessor.run_case_save(
            str(target / case), [str(image)], str(label), manager, configuration, contents["dataset.json"]
        )


def seed_everything(seed: int) -> None:
    import numpy as np
    import torch

    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)


def train_member(work: Path, member: int, epochs: int, iterations: int) -> None:
    """One member in this process: its seed decides the first weights, the order of the data and the augmentation."""
    import torch
    from demo_trainer import DemoTrainer

    from activeseg.system import heap

    heap.keep_freed()
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    seed_everything(member)
    folder = work / "preprocessed" / DATASET
    trainer = DemoTrainer(
        json.loads((folder / "nnUNetPlans.json").read_text()),
        CONFIGURATION,
        member,
        json.loads((folder / "dataset.json").read_text()),
        torch.device("cpu"),
    )
    trainer.initialize()
    cases = [[f"case_{seed}" for seed in seeds] for seeds in (TRAINING_SEEDS, VALIDATION_SEEDS)]
    seed_everything(member)
    trainer.schedule(epochs, iterations, (cases[0], cases[1]))
    start = time.perf_counter()
    trainer.run_training()
    result = {"seconds": round(time.perf_counter() - start), "folder": trainer.output_folder}
    (work / f"member_{member}.json").write_text(json.dumps(result))


def train(work: Path, epochs: int, iterations: int) -> None:
    """All members, two at a time with half of the cores each: the data loader has one thread."""
    threads = max(1, (os.cpu_count() or 2) // 2)
    environment = {**os.environ, "OMP_NUM_THREADS": str(threads), "OMP_WAIT_POLICY": "PASSIVE"}
    waiting, running = list(range(MEMBERS)), {}
    while waiting or running:
        while waiting and len(running) < 2:
            member = waiting.pop(0)
            command = [sys.executable, __file__, "--work", str(work), "--member", str(member)]
            command += ["--epochs", str(epochs), "--iterations", str(iterations)]
            running[member] = subprocess.Popen(command, env=environment)
        member, process = next(iter(running.items()))
        if process.wait() != 0:
            for other in running.values():
                other.terminate()
            raise SystemExit(f"Member {member} ended with exit code {process.returncode}.")
        del running[member]


def publish(work: Path, out: Path) -> None:
    """The trained-model folder: what nnU-Net reads when it predicts, and nothing else."""
    import torch

    preprocessed = work / "preprocessed" / DATASET
    out.mkdir(parents=True, exist_ok=True)
    published = json.loads((preprocessed / "nnUNetPlans.json").read_text())
    published.pop("continue_training")
    (out / "plans.json").write_text(json.dumps(published, indent=1) + "\n")
    (out / "dataset.json").write_text(json.dumps(dataset_json(), indent=1) + "\n")
    for member in range(MEMBERS):
        trained = Path(json.loads((work / f"member_{member}.json").read_text())["folder"]) / "checkpoint_final.pth"
        # Written by the process above; the full checkpoint holds numpy scalars in its log.
        full = torch.load(trained, map_location="cpu", weights_only=False)
        fold = out / f"fold_{member}"
        fold.mkdir(exist_ok=True)
        torch.save(
            {
                "network_weights": full["network_weights"],
                "trainer_name": "nnUNetTrainerNoMirroring",
                "init_args": {"configuration": CONFIGURATION, "fold": member},
                "inference_allowed_mirroring_axes": None,
            },
            fold / "checkpoint_final.pth",
        )
    size = sum(file.stat().st_size for file in out.rglob("*") if file.is_file())
    if size > LARGEST_BYTES:
        raise SystemExit(f"The model has {size} bytes, more than {LARGEST_BYTES}.")
    print(f"{out}: {size / 1e6:.2f} MB", flush=True)


def evaluate(model: Path) -> dict:
    """Dice per organ on held-out phantoms of both domains, for each member and for their mean logits."""
    import numpy as np
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    from activeseg.samples.phantom import PHANTOM_SCHEMA, Domain, make_phantom

    predictor = nnUNetPredictor(
        use_mirroring=False, perform_everything_on_device=False, device=torch.device("cpu"), allow_tqdm=False
    )
    predictor.initialize_from_trained_model_folder(str(model), tuple(range(MEMBERS)))
    weights = predictor.list_of_parameters
    choices = {"ensemble": weights, **{f"member {m}": [w] for m, w in enumerate(weights)}}
    report: dict = {}
    for domain in Domain:
        scores: dict[str, list[list[float]]] = {who: [] for who in choices}
        for seed in HELD_OUT_SEEDS:
            phantom = make_phantom(domain, seed)
            truth = phantom.labels.array
            for who, parameters in choices.items():
                predictor.list_of_parameters = parameters
                image = phantom.ct.array[None].astype(np.float32)
                found = predictor.predict_single_npy_array(image, {"spacing": [SPACING_MM] * 3})
                row = []
                for label in PHANTOM_SCHEMA.labels:
                    a, b = found == label.value, truth == label.value
                    row.append(2 * float((a & b).sum()) / max(1, int(a.sum()) + int(b.sum())))
                scores[who].append(row)
        report[str(domain)] = {
            who: {
                "mean": round(float(np.mean(rows)), 3),
                **dict(zip(PHANTOM_SCHEMA.names, np.round(np.mean(rows, 0), 3).tolist(), strict=True)),
            }
            for who, rows in scores.items()
        }
    return report


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=SHIPPED, help="the model folder to write")
    parser.add_argument("--work", type=Path, help="where nnU-Net's folders go; default: a temporary folder")
    parser.add_argument("--epochs", type=int, default=56)
    parser.add_argument("--iterations", type=int, default=25, help="in each epoch")
    parser.add_argument("--evaluate", action="store_true", help="only measure the model in --out again")
    parser.add_argument("--member", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = (options.work or Path(temporary)).resolve()
        for name in ("raw", "preprocessed", "results"):
            os.environ[f"nnUNet_{name}"] = str(work / name)
        os.environ["nnUNet_n_proc_DA"] = "0"
        os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
        if options.member is not None:
            train_member(work, options.member, options.epochs, options.iterations)
            return
        record = options.out / "training.json"
        if options.evaluate:
            report = json.loads(record.read_text())
        else:
            prepare(work)
            train(work, options.epochs, options.iterations)
            publish(work, options.out)
            seconds = [json.loads((work / f"member_{m}.json").read_text())["seconds"] for m in range(MEMBERS)]
            report = {"seconds_of_each_member": seconds, "iterations": options.epochs * options.iterations}
        report["dice_on_held_out_phantoms"] = evaluate(options.out)
        record.write_text(json.dumps(report, indent=1) + "\n")
        print(json.dumps(report, indent=1))


if __name__ == "__main__":
    main()
