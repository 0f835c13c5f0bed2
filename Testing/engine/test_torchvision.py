"""torchvision beside a CPU build of torch, and with it the genuine packages' commands.

Every case runs in a Python of its own, because the remedy acts when Python starts.
"""

from __future__ import annotations

import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

REMEDY = Path(__file__).resolve().parents[2] / "ActiveSegExtension" / "environment"
SITE_PACKAGES = sysconfig.get_path("purelib")
SCRIPTS = Path(sysconfig.get_path("scripts"))


def run(code: str) -> subprocess.CompletedProcess[str]:
    """Run code as a user's program would run in this environment."""
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)


def run_bare(code: str, *paths: str | Path) -> subprocess.CompletedProcess[str]:
    """Run code in a Python that sees only ``paths`` and its standard library, and executes no .pth file."""
    start = f"import sys; sys.path[:0] = {[str(path) for path in paths]!r}\n"
    return subprocess.run([sys.executable, "-I", "-S", "-c", start + code], capture_output=True, text=True, check=False)


def test_torchvision_and_timm_can_be_imported():
    done = run("import torchvision, timm")
    assert done.returncode == 0, done.stderr


def test_the_genuine_trainer_lookup_finds_what_totalsegmentator_needs():
    done = run(
        "import nnunetv2, os\n"
        "from nnunetv2.utilities.find_class_by_name import recursive_find_python_class\n"
        "folder = os.path.join(nnunetv2.__path__[0], 'training', 'nnUNetTrainer')\n"
        "name = 'nnUNetTrainer_4000epochs_NoMirroring'\n"
        "print(recursive_find_python_class(folder, name, 'nnunetv2.training.nnUNetTrainer').__name__)"
    )
    assert done.stdout.splitlines()[-1:] == ["nnUNetTrainer_4000epochs_NoMirroring"], done.stderr


@pytest.mark.parametrize("command", ["nnUNetv2_predict", "TotalSegmentator"])
def test_the_genuine_commands_start(command):
    done = subprocess.run([SCRIPTS / command, "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "usage" in done.stdout.lower()


def test_the_remedy_alone_makes_the_import_work():
    done = run_bare("import activeseg_torchvision, torchvision; torchvision.ops.nms", REMEDY, SITE_PACKAGES)
    assert done.returncode == 0, done.stderr


def test_without_the_remedy_the_trap_is_there():
    done = run_bare("import torchvision", SITE_PACKAGES)
    if done.returncode == 0:
        pytest.skip("The torchvision of this environment works by itself.")
    assert "torchvision::nms does not exist" in done.stderr


def test_the_remedy_leaves_a_cuda_build_of_torch_alone():
    code = "import torch; torch.version.cuda = '13.0'\n"
    code += "{}import torchvision, torch\nprint(len(torchvision._meta_registrations.__name__))"
    without = run_bare(code.format(""), SITE_PACKAGES)
    with_remedy = run_bare(code.format("import activeseg_torchvision\n"), REMEDY, SITE_PACKAGES)
    assert with_remedy.returncode == without.returncode
    assert with_remedy.stderr.splitlines()[-1:] == without.stderr.splitlines()[-1:]


def test_the_remedy_loads_nothing_when_python_starts():
    loaded = "import sys; before = set(sys.modules)\n{}print(*sorted(set(sys.modules) - before))"
    done = run_bare(loaded.format("import activeseg_torchvision\n"), REMEDY)
    assert done.stdout.split() == ["activeseg_torchvision"]
    assert not done.stderr


def test_a_missing_torchvision_is_reported_as_ever():
    done = run_bare("import activeseg_torchvision\nimport torchvision", REMEDY)
    assert done.stderr.splitlines()[-1] == "ModuleNotFoundError: No module named 'torchvision'"


@pytest.fixture
def other_torchvision(tmp_path: Path):
    """Makes a package of that name whose operators load or do not, beside no torch at all."""

    def make(has_ops: bool) -> Path:
        package = tmp_path / "torchvision"
        package.mkdir()
        (package / "__init__.py").write_text("from torchvision import extension\n")
        (package / "extension.py").write_text(f"def _has_ops():\n    return {has_ops}\n")
        return tmp_path

    return make


@pytest.mark.parametrize("has_ops", [True, False])
def test_another_torchvision_without_torch_is_imported_as_ever(other_torchvision, has_ops):
    where = other_torchvision(has_ops)
    code = "import activeseg_torchvision\nimport torchvision.extension, inspect\n"
    code += "print(torchvision.extension._has_ops(), len(inspect.getsource(torchvision.extension)) > 10)"
    done = run_bare(code, REMEDY, where)
    assert done.stdout.split() == [str(has_ops), "True"], done.stderr
    assert not done.stderr
