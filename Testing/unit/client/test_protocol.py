"""One message a line: what is accepted, what is refused in words, and what never breaks the reader."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from activeseg.client.protocol import (
    LINE_LIMIT,
    NAME_LIMIT,
    ErrorCode,
    ErrorResponse,
    Lines,
    Message,
    Notification,
    ProtocolError,
    Request,
    Response,
    decode,
    encode,
)
from activeseg.core.errors import ActiveSegError, Cancelled, EngineError, kinds

json_values = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53), 2**53)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=10,
)
names = st.text(min_size=1, max_size=NAME_LIMIT)
objects = st.dictionaries(st.text(max_size=8), json_values, max_size=4)
messages = st.one_of(
    st.builds(Request, names, names, objects),
    st.builds(Response, names, json_values),
    st.builds(Notification, names, objects),
    st.builds(ErrorResponse, names, st.integers(-33000, -1), st.text(), objects),
)


@given(messages)
def test_every_message_comes_back_as_it_was(message: Message) -> None:
    line = encode(message)
    assert line.endswith(b"\n")
    assert b"\n" not in line[:-1]
    assert decode(line[:-1]) == message


@given(st.binary())
def test_any_bytes_are_a_message_or_refused_in_words(data: bytes) -> None:
    try:
        decode(data)
    except ProtocolError as error:
        reply = error.reply
    else:
        return
    assert reply.message
    assert isinstance(decode(encode(reply)[:-1]), ErrorResponse)


@given(st.lists(st.binary(max_size=12).map(lambda b: b.replace(b"\n", b"")), max_size=8), st.data())
def test_lines_are_the_same_however_the_bytes_are_cut(lines: list[bytes], data: st.DataObject) -> None:
    stream = b"".join(line + b"\n" for line in lines) + b"rest"
    cuts = sorted(data.draw(st.lists(st.integers(0, len(stream)), max_size=6)))
    reader, found = Lines(), []
    for start, stop in zip([0, *cuts], [*cuts, len(stream)], strict=True):
        found += reader.feed(stream[start:stop])
    assert found == lines


def test_a_line_that_is_too_long_is_skipped_and_the_next_one_is_read() -> None:
    lines = Lines(limit=10)
    assert lines.feed(b"123456789\n") == [b"123456789"]
    assert lines.feed(b"1234567890") == []
    assert lines.feed(b"more and more") == []
    assert lines.feed(b"\nnext\n") == [None, b"next"]


def test_the_longest_message_that_is_sent_is_also_received() -> None:
    overhead = len(encode(Response("1", "")))
    longest = encode(Response("1", "x" * (LINE_LIMIT - overhead)))
    assert len(longest) == LINE_LIMIT
    assert Lines().feed(longest) == [longest[:-1]]
    with pytest.raises(EngineError, match="too long"):
        encode(Response("1", "x" * (LINE_LIMIT - overhead + 1)))


@pytest.mark.parametrize("value", [float("nan"), float("inf"), object(), b"bytes"])
def test_what_json_cannot_say_is_not_sent(value: object) -> None:
    with pytest.raises(EngineError, match="JSON"):
        encode(Response("1", value))


@pytest.mark.parametrize(
    ("line", "code", "said"),
    [
        (b"", ErrorCode.PARSE, "not JSON"),
        (b"{", ErrorCode.PARSE, "not JSON"),
        (b"\xff\xfe", ErrorCode.PARSE, "not JSON"),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":NaN}}', ErrorCode.PARSE, "NaN"),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":{"a":%s}}' % (b"9" * 5000), ErrorCode.PARSE, "too large"),
        (b"[" * 100_000, ErrorCode.PARSE, "not JSON"),
        (b"[]", ErrorCode.INVALID_REQUEST, "list"),
        (b"17", ErrorCode.INVALID_REQUEST, "int"),
        (b"{}", ErrorCode.INVALID_REQUEST, "jsonrpc"),
        (b'{"jsonrpc":"1.0","id":1,"method":"x"}', ErrorCode.INVALID_REQUEST, "2.0"),
        (b'{"jsonrpc":"2.0","id":1}', ErrorCode.INVALID_REQUEST, "neither"),
        (b'{"jsonrpc":"2.0","id":null,"method":"x"}', ErrorCode.INVALID_REQUEST, "'id'"),
        (b'{"jsonrpc":"2.0","id":true,"method":"x"}', ErrorCode.INVALID_REQUEST, "'id'"),
        (b'{"jsonrpc":"2.0","id":1.5,"method":"x"}', ErrorCode.INVALID_REQUEST, "'id'"),
        (b'{"jsonrpc":"2.0","id":[],"method":"x"}', ErrorCode.INVALID_REQUEST, "'id'"),
        (b'{"jsonrpc":"2.0","id":"","method":"x"}', ErrorCode.INVALID_REQUEST, "'id'"),
        (b'{"jsonrpc":"2.0","id":1,"method":7}', ErrorCode.INVALID_REQUEST, "'method'"),
        (b'{"jsonrpc":"2.0","id":1,"method":""}', ErrorCode.INVALID_REQUEST, "'method'"),
        (b'{"jsonrpc":"2.0","id":1,"method":"x","params":[1]}', ErrorCode.INVALID_PARAMS, "list"),
        (b'{"jsonrpc":"2.0","id":1,"error":"no"}', ErrorCode.INVALID_REQUEST, "neither"),
    ],
)
def test_what_is_no_message_is_refused_with_the_reason(line: bytes, code: ErrorCode, said: str) -> None:
    with pytest.raises(ProtocolError, match=said) as caught:
        decode(line)
    assert caught.value.reply.code == code


def test_a_refused_request_is_answered_under_its_own_id() -> None:
    with pytest.raises(ProtocolError) as caught:
        decode(b'{"jsonrpc":"2.0","id":"seven","method":"x","params":3}')
    assert caught.value.reply.id == "seven"


def test_numbers_and_texts_are_the_same_id() -> None:
    assert decode(b'{"jsonrpc":"2.0","id":7,"method":"x"}') == decode(b'{"jsonrpc":"2.0","id":"7","method":"x"}')


@pytest.mark.parametrize("kind", [kind for kind in kinds().values() if kind is not Cancelled])
def test_typed_errors_arrive_with_sentence_action_and_details(kind: type[ActiveSegError]) -> None:
    sent = kind("It is 3.", "Make it 4.", value=3)
    message = decode(encode(ErrorResponse.of("1", sent))[:-1])
    assert isinstance(message, ErrorResponse)
    arrived = message.error()
    assert type(arrived) is kind
    assert (arrived.message, arrived.action, arrived.details) == ("It is 3.", "Make it 4.", {"value": 3})


def test_a_cancelled_job_arrives_as_cancelled() -> None:
    message = decode(encode(ErrorResponse.of("1", Cancelled()))[:-1])
    assert isinstance(message, ErrorResponse)
    assert isinstance(message.error(), Cancelled)
    assert message.code == ErrorCode.ACTIVESEG


def test_an_error_of_a_later_version_is_still_an_error_in_words() -> None:
    line = json.dumps(
        {"jsonrpc": "2.0", "id": "1", "error": {"code": -32050, "message": "Odd.", "data": {"code": "odd"}}}
    )
    message = decode(line.encode())
    assert isinstance(message, ErrorResponse)
    assert type(message.error()) is EngineError
    assert str(message.error()) == "Odd."
