"""What a job raises, as the client is told."""

from __future__ import annotations

import pytest

from activeseg.client.protocol import Code, Request
from activeseg.core.errors import EngineError
from activeseg.engine.worker.worker import _failed


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'torch'"), ImportError("libtorch.so: cannot open shared object")]
)
def test_a_package_that_cannot_be_imported_is_damage_of_the_environment(error, tmp_path):
    answer = _failed(Request("1", "segment", {"folder": str(tmp_path)}), error)
    told = answer.error()
    assert isinstance(told, EngineError)
    assert told.details["cause"] == "imports"
    assert str(error) in told.message
    assert "Repair" in told.action


def test_any_other_exception_is_unexpected(tmp_path):
    answer = _failed(Request("1", "segment", {"folder": str(tmp_path)}), ZeroDivisionError("division by zero"))
    assert answer.code == Code.INTERNAL
    assert "cause" not in answer.error().details
