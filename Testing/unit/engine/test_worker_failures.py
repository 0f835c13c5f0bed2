"""What a job raises, as the client is told."""

from __future__ import annotations

import json

import pytest

from activeseg.client.protocol import ErrorCode, Request
from activeseg.core.errors import EngineError
from activeseg.engine.worker.failures import answer_to_failure


@pytest.mark.parametrize(
    "error", [ModuleNotFoundError("No module named 'torch'"), ImportError("libtorch.so: cannot open shared object")]
)
def test_a_package_that_cannot_be_imported_is_damage_of_the_environment(error, tmp_path):
    answer = answer_to_failure(Request("1", "segment", {"folder": str(tmp_path)}), error)
    told = answer.error()
    assert isinstance(told, EngineError)
    assert told.details["cause"] == "imports"
    assert str(error) in told.message
    assert "Repair" in told.action


def test_any_other_exception_is_unexpected(tmp_path):
    answer = answer_to_failure(
        Request("1", "segment", {"folder": str(tmp_path)}), ZeroDivisionError("division by zero")
    )
    assert answer.code == ErrorCode.INTERNAL
    assert "cause" not in answer.error().details


def test_an_unexpected_exception_is_told_by_a_number_that_the_log_explains(tmp_path, capsys):
    path = tmp_path / "Doe^John" / "ct.nii.gz"
    try:
        raise ValueError(f"cannot read {path}")
    except ValueError as error:
        answer = answer_to_failure(Request("1", "segment", {"folder": str(tmp_path)}), error)
    told = answer.error()
    number = told.details["log_number"]
    assert number in told.message
    assert "Doe" not in json.dumps([answer.message, dict(answer.data)])
    logged = capsys.readouterr().err
    assert f"segment failed ({number}): ValueError" in logged
    assert "test_worker_failures.py" in logged
