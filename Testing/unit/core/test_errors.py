"""An error that was written down comes back as the kind that it was."""

from __future__ import annotations

import json

import pytest

from activeseg.core.errors import ActiveSegError, Cancelled, Crashed, DeviceError, EngineError, InputError


class Unnamed(InputError):
    """A class of one module, without a code of its own."""


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (DeviceError("It is full.", "Close some.", setting="device"), DeviceError),
        (Crashed("It ended."), Crashed),
        (Cancelled(), Cancelled),
        (ActiveSegError("It failed."), ActiveSegError),
        (Unnamed("It is 3."), InputError),
    ],
)
def test_an_error_comes_back_as_it_was(error: ActiveSegError, kind: type[ActiveSegError]) -> None:
    back = ActiveSegError.from_dict(json.loads(json.dumps(error.to_dict())))
    assert type(back) is kind
    assert (back.message, back.action, back.details) == (error.message, error.action, error.details)


@pytest.mark.parametrize("data", [{}, {"code": 5}, {"code": "unheard of", "details": []}])
def test_an_error_of_an_unknown_kind_is_one_of_the_engine(data: dict[str, object]) -> None:
    back = ActiveSegError.from_dict(data)
    assert type(back) is EngineError
    assert back.details == {}
