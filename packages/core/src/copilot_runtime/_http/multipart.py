"""Parses ``multipart/form-data`` (RFC 7578), where the framework has not done so."""

from __future__ import annotations

from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.http import parse_options_header
from werkzeug.sansio.multipart import Data, Epilogue, Field, File, MultipartDecoder, NeedData, State

from .form import FormPart

_MAX_PARTS = 100
# Parsing headers of parts costs far more per byte than parsing their data: a body of nothing else could keep the server
# busy for minutes.
_MAX_HEADER_BYTES = 8 * 1024


def parse_multipart(body: bytes, content_type: str) -> tuple[FormPart, ...]:
    """Returns the parts of a multipart body, in order, without those that have no name.

    Args:
        body: the whole body.
        content_type: the request's content type, which contains the boundary.

    Raises:
        ValueError: the body is malformed or incomplete, has more than 100 parts, or has a part with more than 8 KiB of
            headers.
    """
    boundary = parse_options_header(content_type)[1].get("boundary")
    if not boundary:
        raise ValueError("the content type has no boundary")
    decoder = MultipartDecoder(boundary.encode("latin-1"), max_parts=_MAX_PARTS)
    try:
        return _parts(decoder, body)
    except RequestEntityTooLarge as error:
        raise ValueError(f"the form has more than {_MAX_PARTS} parts") from error


def _parts(decoder: MultipartDecoder, body: bytes) -> tuple[FormPart, ...]:
    parts: list[FormPart] = []
    head: Field | File | None = None
    data: list[bytes] = []
    position = 0
    while True:
        event = decoder.next_event()
        match event:
            case NeedData():
                if decoder.state is State.PART and len(decoder.buffer) > _MAX_HEADER_BYTES:
                    raise ValueError("the headers of a part are too large")
                end = position + _MAX_HEADER_BYTES
                decoder.receive_data(body[position:end] if position < len(body) else None)
                position = end
            case Field() | File():
                head, data = event, []
            case Data():
                data.append(event.data)
                if not event.more_data and head is not None:
                    if head.name:
                        parts.append(_part(head, b"".join(data)))
                    head = None
            case Epilogue():
                return tuple(parts)


def _part(head: Field | File, data: bytes) -> FormPart:
    return FormPart(
        name=head.name,
        data=data,
        filename=head.filename if isinstance(head, File) else None,
        content_type=head.headers.get("content-type"),
    )
