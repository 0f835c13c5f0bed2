"""The client's half: bytes in, events out, whatever the bytes are."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activeseg.client.engine_client import (
    CrashedEvent,
    EngineClient,
    EstimateEvent,
    Event,
    Failure,
    LabelEvent,
    LogEvent,
    NoticeEvent,
    ProgressEvent,
    Result,
)
from activeseg.client.protocol import PROTOCOL_VERSION, ErrorResponse, Notification, Request, Response, decode, encode
from activeseg.core.errors import Cancelled, Crashed, EngineError, InputError, ModelError


def greeted() -> EngineClient:
    client = EngineClient("test")
    id, _ = client.hello()
    client.receive(encode(Response(id, {"protocol": PROTOCOL_VERSION})))
    return client


def test_hello_says_which_protocol_is_spoken() -> None:
    _, line = EngineClient("Slicer").hello()
    message = decode(line[:-1])
    assert isinstance(message, Request)
    assert message.method == "hello"
    assert (message.params["protocol"], message.params["client"]) == (PROTOCOL_VERSION, "Slicer")


@pytest.mark.parametrize("answer", [{"protocol": 1}, {"protocol": "2"}, {}, None, [1]])
def test_an_engine_of_another_version_is_refused_in_words(answer: object) -> None:
    client = EngineClient("test")
    id, _ = client.hello()
    (event,) = client.receive(encode(Response(id, answer)))
    assert isinstance(event, Failure)
    assert isinstance(event.error, EngineError)
    assert "version" in event.error.message
    assert "Update" in event.error.action
    assert not client.engine


def test_results_failures_and_notifications_become_events() -> None:
    client = greeted()
    first, _ = client.request("segment", {"model": "demo"})
    second, _ = client.request("models.list")
    progress = {"job": first, "stage": "network", "fraction": 0.5, "eta_s": 3.0, "text": "tile"}
    data = b"".join(
        [
            encode(Notification("estimate", {"job": first, "estimate": {"ram_bytes": 1}})),
            encode(Notification("progress", progress)),
            encode(Notification("notice", {"job": first, "text": "Views are left out."})),
            encode(Notification("label", {"job": first, "result": {"labels": "/a.npy"}})),
            encode(Notification("log", {"line": "hello"})),
            encode(Response(second, {"models": []})),
            encode(ErrorResponse.of(first, ModelError("Gone.", "Download it."))),
        ]
    )
    assert [type(event) for event in client.receive(data)] == [
        EstimateEvent,
        ProgressEvent,
        NoticeEvent,
        LabelEvent,
        LogEvent,
        Result,
        Failure,
    ]
    assert client.pending == {}


def test_the_typed_error_of_the_engine_arrives() -> None:
    client = greeted()
    id, _ = client.request("segment")
    (event,) = client.receive(encode(ErrorResponse.of(id, InputError("No image.", "Give one.", file="a"))))
    assert isinstance(event, Failure)
    assert isinstance(event.error, InputError)
    assert (event.method, str(event.error), event.error.details) == ("segment", "No image. Give one.", {"file": "a"})


def test_a_cancelled_job_fails_with_cancelled() -> None:
    client = greeted()
    id, _ = client.request("segment")
    (event,) = client.receive(encode(ErrorResponse.of(id, Cancelled())))
    assert isinstance(event, Failure)
    assert isinstance(event.error, Cancelled)


def test_an_unknown_eta_is_none() -> None:
    client = greeted()
    params = {"job": "1", "stage": "load", "fraction": 0.0, "eta_s": None, "text": ""}
    assert client.receive(encode(Notification("progress", params))) == [ProgressEvent("1", "load", 0.0, None, "")]


def test_a_crash_fails_every_open_request_and_is_one_event_with_the_log() -> None:
    client = greeted()
    ids = [client.request(method)[0] for method in ("segment", "models.list")]
    *failures, crashed = client.closed("The engine ended (signal SIGSEGV).", ("line 1", "line 2"))
    assert [failure.id for failure in failures if isinstance(failure, Failure)] == ids
    assert all(isinstance(f, Failure) and isinstance(f.error, Crashed) for f in failures)
    assert isinstance(crashed, CrashedEvent)
    assert crashed.log_tail == ("line 1", "line 2")
    assert crashed.error.details["log"] == ["line 1", "line 2"]
    assert client.pending == {}


def test_after_a_crash_the_next_engine_begins_with_fresh_bytes_and_new_ids() -> None:
    client = greeted()
    old, _ = client.request("segment")
    client.receive(b'{"jsonrpc": "2.0", "half a mes')
    client.closed("It ended.")
    id, _ = client.hello()
    assert id != old
    (event,) = client.receive(encode(Response(id, {"protocol": PROTOCOL_VERSION})))
    assert isinstance(event, Result)
    (late,) = client.receive(encode(Response(old, {})))
    assert isinstance(late, LogEvent)


def test_a_second_answer_to_one_request_is_only_logged() -> None:
    client = greeted()
    id, _ = client.request("models.list")
    line = encode(Response(id, {}))
    assert [type(event) for event in client.receive(line + line)] == [Result, LogEvent]


def test_a_message_that_is_too_long_for_the_pipe_is_not_sent_and_not_awaited() -> None:
    client = greeted()
    with pytest.raises(EngineError, match="too long"):
        client.request("segment", {"array": "x" * 2_000_000})
    assert client.pending == {}


CONVERSATION = b"".join(
    [
        encode(Notification("log", {"line": "ä\u2028ö"})),
        encode(Notification("progress", {"job": "2", "stage": "s", "fraction": 0.1, "eta_s": 1.5, "text": "t"})),
        encode(Response("2", {"a": [1, 2]})),
    ]
)


@given(st.lists(st.integers(0, len(CONVERSATION)), max_size=20))
def test_events_are_the_same_however_the_bytes_are_cut(cuts: list[int]) -> None:
    whole, cut = greeted(), greeted()
    whole.request("x")
    cut.request("x")
    expected = whole.receive(CONVERSATION)
    found: list[Event] = []
    places = [0, *sorted(cuts), len(CONVERSATION)]
    for start, stop in pairwise(places):
        found += cut.receive(CONVERSATION[start:stop])
    assert found == expected
    assert len(found) == 3


@given(st.binary(max_size=200))
def test_garbage_never_breaks_the_conversation(garbage: bytes) -> None:
    client = greeted()
    id, _ = client.request("models.list")
    assert all(isinstance(event, LogEvent) for event in client.receive(garbage + b"\n"))
    (event,) = client.receive(encode(Response(id, {})))
    assert isinstance(event, Result)


wrong = st.one_of(st.none(), st.integers(), st.text(max_size=5), st.lists(st.integers(), max_size=2))


@given(
    st.sampled_from(["progress", "estimate", "notice", "log", "later"]),
    st.dictionaries(st.sampled_from(["job", "stage", "fraction", "eta_s", "text", "estimate", "line"]), wrong),
)
def test_notifications_of_wrong_shape_never_raise(method: str, params: dict[str, object]) -> None:
    assert len(greeted().receive(encode(Notification(method, params)))) == 1
