"""The genuine nnU-Net trainer without mirroring, with a schedule for minutes on a CPU; for train_demo_model.py."""

from __future__ import annotations

import torch
from nnunetv2.training.lr_scheduler.polylr import PolyLRScheduler
from nnunetv2.training.nnUNetTrainer.variants.data_augmentation.nnUNetTrainerNoMirroring import nnUNetTrainerNoMirroring


class DemoTrainer(nnUNetTrainerNoMirroring):
    """Data loading, augmentation, loss and epochs are nnU-Net's; optimiser, length and split are set here."""

    learning_rate = 3e-3

    def schedule(self, epochs: int, iterations: int, cases: tuple[list[str], list[str]]) -> None:
        """``cases`` are the names for training and for nnU-Net's validation in each epoch; all members share them."""
        self.num_epochs, self.num_iterations_per_epoch, self.num_val_iterations_per_epoch = epochs, iterations, 2
        self.cases = cases
        self.oversample_foreground_percent = 0.7
        self.save_every = epochs
        self.optimizer, self.lr_scheduler = self.configure_optimizers()

    def configure_optimizers(self):
        optimizer = torch.optim.AdamW(self.network.parameters(), self.learning_rate, weight_decay=1e-4)
        return optimizer, PolyLRScheduler(optimizer, self.learning_rate, self.num_epochs)

    def do_split(self):
        return self.cases

    def plot_network_architecture(self):
        """Nothing: it needs graphviz."""

    def train_step(self, batch: dict) -> dict:
        """nnU-Net's step, in float32; its own has mixed precision on CUDA only."""
        target = batch["target"]
        self.optimizer.zero_grad(set_to_none=True)
        outputs = self.network(batch["data"])
        loss = self.loss([output.float() for output in outputs], target)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 12)
        self.optimizer.step()
        return {"loss": loss.detach().numpy()}
