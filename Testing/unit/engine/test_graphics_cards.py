"""Graphics cards, as NVIDIA's tool tells of them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from activeseg.client.messages.system import Gpu
from activeseg.engine.jobs.system import nvidia_gpus


@pytest.mark.skipif(os.name != "posix", reason="a shell script")
def test_graphics_cards_are_read_from_nvidias_tool_and_its_failures_are_no_error(tmp_path: Path) -> None:
    tool = tmp_path / "nvidia-smi"
    tool.write_text("#!/bin/sh\necho 'NVIDIA H100, 81559, 80000, 550.1'\necho 'odd line'\n")
    tool.chmod(0o755)
    assert nvidia_gpus(str(tool)) == [
        Gpu(name="NVIDIA H100", total_bytes=81559 << 20, free_bytes=80000 << 20, driver="550.1")
    ]
    tool.write_text("#!/bin/sh\nexit 9\n")
    assert nvidia_gpus(str(tool)) == []
    assert nvidia_gpus(str(tmp_path / "missing")) == []
