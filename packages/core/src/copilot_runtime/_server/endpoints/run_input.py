"""Reads AG-UI's ``RunAgentInput`` from a body."""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Collection, Iterable
from typing import Any

from ag_ui.core import RunAgentInput
from pydantic import ValidationError
from pydantic_core import to_json

from ..._http.url_safety import WEB_SCHEMES
from ..._json_size import MAX_FACTOR, MODEL_BYTES, flat_size, parsed_size
from ..._strict_json import loads, refuse_overflow
from ..._validation import format_validation_error
from ...agents._json_body import KEPT_BYTES, JSONBody, without_nulls
from ..errors import InvalidRunInput
from ..input_limits import InputLimits
from .attachment_urls import without_unsafe_urls
from .content_generations import to_generation_0, to_generation_1
from .input_models import DeferredRunAgentInput, LenientRunAgentInput, build_input, for_agents
from .plain_input import PlainInput, read_plain
from .wire_names import refuse_python_names, refuse_python_names_of

_CALL_MEMBERS = 5
"""Those of a tool call, and of the function in it."""

_COMPLETE = frozenset(("threadId", "runId", "messages", "tools", "context"))
"""The members that clients require in the input of RUN_STARTED."""

_SMALL_REST = 1024
"""How many bytes of other members are few, whatever the messages have."""

_TINY_REST = 128
"""So few bytes hardly matter beside a body that is not small, whatever they become in memory."""

_LF, _CR = b"\n\r"
"""As numbers, which are found ten times as fast as bytes: those are first tried as a number, which raises."""

_SMALL_BODY = 4096
"""A body of this many bytes or less has too few items for their errors, or their memory, to be costly."""


@dataclasses.dataclass(slots=True)  # not frozen, for the same reason as `EndpointContext`
class ParsedInput:
    """A run input.

    Attributes:
        model: the input as agents get it, without activity messages.
        wire: the input in wire form as the client sent it, unknown members and all messages included.
        agent_body: the same as agents get it: without URLs that they may not fetch.
        parts: how many content parts and tool calls its messages have. Not counted in a small body.
        rest: what of it does not consist of strings, as JSON, if it is plain (`PlainInput`).
    """

    model: RunAgentInput
    wire: JSONBody
    agent_body: bytes
    parts: int = 0
    rest: bytes | None = None


def parse_input(body: bytes, limits: InputLimits, url_schemes: Collection[str] = WEB_SCHEMES) -> ParsedInput:
    """Returns the run input in a body, without URLs that no agent may fetch. Raises InvalidRunInput.

    Args:
        body: the body.
        limits: how much the input may contain.
        url_schemes: the schemes that agents may fetch, in lower case.
    """
    try:
        # Before pydantic, which accepts NaN and infinities in members of any type.
        wire = loads(body, check_overflow=False)
        plain = read_plain(wire)
        if plain is None:
            refuse_overflow(wire, body)
    except ValueError as error:
        raise InvalidRunInput(f"the body is not JSON: {error}") from None
    if plain is not None:
        return _parse_plain(body, wire, plain, limits)
    parts = limits.check(wire, body)
    refuse_python_names_of(RunAgentInput, wire)
    safe = without_unsafe_urls(wire, url_schemes) if parts else wire
    agent_body = body if safe is wire else to_json(safe)
    model = _validate(agent_body, safe)
    refuse_python_names(body, model, ("messages", "tools", "resume"))
    return ParsedInput(for_agents(model), JSONBody(body, without_nulls(wire), drop_nulls=True), agent_body, parts)


def size_in_memory(parsed: ParsedInput) -> int:
    """Returns about how much memory a run takes that has an input: as bytes, as objects, and in its RUN_STARTED."""
    body = parsed.wire.data
    if len(body) <= _SMALL_BODY:
        return len(body) * MAX_FACTOR  # to be exact would take longer than it would save
    members, rest = parsed.wire.members, parsed.rest
    messages = members["messages"]
    if b'"activity"' in (body if rest is None else rest):  # they become no models, and the rest has them
        messages = [message for message in messages if message["role"] != "activity"]
    models = len(messages) + len(members.get("tools") or ()) + len(members.get("context") or ())
    models += 2 * parsed.parts  # each has another one in it, such as the source of an image
    if rest is None:
        parsed_bytes = parsed_size(body)
    else:
        strings = sum(map(len, messages)) + _CALL_MEMBERS * parsed.parts
        rest_bytes = len(rest) * MAX_FACTOR if len(rest) <= _TINY_REST else parsed_size(rest)
        parsed_bytes = rest_bytes + flat_size(
            body, max(0, len(body) - len(rest)), len(messages) + 2 * parsed.parts, strings
        )
    kept = parsed_bytes if len(body) <= KEPT_BYTES else 0
    return 2 * len(body) + parsed_bytes + kept + models * MODEL_BYTES


def _parse_plain(body: bytes, wire: dict[str, Any], plain: PlainInput, limits: InputLimits) -> ParsedInput:
    """Returns a run input that is known to be valid."""
    rest = plain.rest
    size, rest_size = len(body), len(rest)
    is_small = size <= _SMALL_BODY and limits.have_room(size, rest_size)
    parts = 0 if is_small else limits.check_plain(wire, rest, has_parts=not plain.has_only_texts)
    is_complete = wire.keys() >= _COMPLETE and None not in wire.values()
    is_mostly_messages = rest_size <= _SMALL_REST or rest_size <= size // 2
    members = JSONBody(
        body,
        wire if is_complete else without_nulls(wire),
        drop_nulls=True,
        can_be_echoed=is_complete and _LF not in body and _CR not in body,
        stands_for_messages=is_mostly_messages and bool(wire["messages"]),
    )
    # Of a large state, the model takes little more than the copy that the agent would get.
    model = DeferredRunAgentInput.of_body(members) if is_mostly_messages else build_input(body)
    return ParsedInput(model, members, body, parts, rest)


def _validate(body: bytes, wire: Any) -> LenientRunAgentInput:
    """Returns the model of a run input, whichever generation of AG-UI its content parts are of."""
    model = LenientRunAgentInput
    if len(body) > _SMALL_BODY:
        from .fail_fast_input import FailFastRunAgentInput as model  # with what few runs need
    try:
        return model.model_validate_json(body, by_name=False)
    except ValidationError as error:
        errors = [error]
    for convert in (to_generation_1, to_generation_0) if isinstance(wire, dict) else ():
        try:
            return model.model_validate(convert(wire), by_name=False)
        except ValidationError as error:
            errors.append(error)
    try:
        raise InvalidRunInput(format_validation_error(_closest(errors), root="body", limit=5))
    finally:
        errors.clear()  # their tracebacks have this frame, and so all of them would keep the body in memory


def _closest(errors: Iterable[ValidationError]) -> ValidationError:
    """Returns the error of the generation which the input is closest to."""
    return min(errors, key=lambda error: (-_valid_messages(error), error.error_count()))


def _valid_messages(error: ValidationError) -> float:
    """Returns how many messages precede the first one that an error is about."""
    places = (problem["loc"] for problem in error.errors(include_url=False, include_context=False, include_input=False))
    indices = (place[1] for place in places if place[0:1] == ("messages",) and len(place) > 1)
    return min((index for index in indices if isinstance(index, int)), default=math.inf)
