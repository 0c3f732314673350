"""Responses of models as each of the four APIs streams them, from one description."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

Frame = dict[str, Any]


class Text(NamedTuple):
    deltas: Sequence[str]
    signature: str = ""


class Reasoning(NamedTuple):
    deltas: Sequence[str]
    signature: str = ""
    """What the maker attaches: a signature, or encrypted content."""


class Call(NamedTuple):
    id: str
    name: str
    arguments: Sequence[str]
    """The deltas of a JSON object."""
    signature: str = ""


Part = Text | Reasoning | Call


class Usage(NamedTuple):
    """The counts as AG-UI has them."""

    input: int = 10
    output: int = 5
    reasoning: int = 2
    cached: int = 3


USAGE = Usage()


def chat_frames(parts: Sequence[Part], usage: Usage = USAGE) -> Iterator[Frame]:
    """Chat Completions, with DeepSeek's field for reasoning and Google's for signatures."""

    def chunk(delta: Frame, reason: str | None = None) -> Frame:
        return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": reason}]}

    calls = 0
    for part in parts:
        if isinstance(part, Call):
            extra = {"extra_content": {"google": {"thought_signature": part.signature}}} if part.signature else {}
            head = {"index": calls, "id": part.id, "type": "function", "function": {"name": part.name}, **extra}
            yield chunk({"tool_calls": [head]})
            for delta in part.arguments:
                yield chunk({"tool_calls": [{"index": calls, "function": {"arguments": delta}}]})
            calls += 1
        else:
            name = "content" if isinstance(part, Text) else "reasoning_content"
            for delta in part.deltas:
                yield chunk({name: delta})
    yield chunk({}, "tool_calls" if calls else "stop")
    yield {
        **chunk({}),
        "choices": [],
        "usage": {
            "prompt_tokens": usage.input,
            "completion_tokens": usage.output,
            "total_tokens": usage.input + usage.output,
            "completion_tokens_details": {"reasoning_tokens": usage.reasoning},
            "prompt_tokens_details": {"cached_tokens": usage.cached},
        },
    }


def responses_frames(parts: Sequence[Part], usage: Usage = USAGE) -> Iterator[Frame]:
    """OpenAI's Responses API."""
    yield {"type": "response.created", "response": {"id": "resp_1", "status": "in_progress"}}
    for index, part in enumerate(parts):
        ids = {"output_index": index, "item_id": f"item_{index}"}
        if isinstance(part, Call):
            item = {"type": "function_call", "id": f"item_{index}", "call_id": part.id, "name": part.name}
            yield {"type": "response.output_item.added", **ids, "item": {**item, "arguments": ""}}
            for delta in part.arguments:
                yield {"type": "response.function_call_arguments.delta", **ids, "delta": delta}
            arguments = "".join(part.arguments)
            yield {"type": "response.function_call_arguments.done", **ids, "arguments": arguments}
            yield {"type": "response.output_item.done", **ids, "item": {**item, "arguments": arguments}}
        elif isinstance(part, Text):
            message = {"type": "message", "id": f"item_{index}", "role": "assistant", "content": []}
            yield {"type": "response.output_item.added", **ids, "item": message}
            for delta in part.deltas:
                yield {"type": "response.output_text.delta", **ids, "content_index": 0, "delta": delta}
            done = {**message, **({"phase": part.signature} if part.signature else {})}
            yield {"type": "response.output_item.done", **ids, "item": done}
        else:
            item = {"type": "reasoning", "id": f"rs_{index}", "summary": []}
            yield {"type": "response.output_item.added", **ids, "item": item}
            for delta in part.deltas:
                yield {"type": "response.reasoning_summary_text.delta", **ids, "summary_index": 0, "delta": delta}
            encrypted = {"encrypted_content": part.signature} if part.signature else {}
            yield {"type": "response.output_item.done", **ids, "item": {**item, **encrypted}}
    counts = {
        "input_tokens": usage.input,
        "output_tokens": usage.output,
        "total_tokens": usage.input + usage.output,
        "input_tokens_details": {"cached_tokens": usage.cached},
        "output_tokens_details": {"reasoning_tokens": usage.reasoning},
    }
    yield {"type": "response.completed", "response": {"id": "resp_1", "status": "completed", "usage": counts}}


def messages_frames(parts: Sequence[Part], usage: Usage = USAGE) -> Iterator[Frame]:
    """Anthropic's Messages API. Reasoning without deltas is redacted."""
    counts = {"input_tokens": usage.input - usage.cached, "cache_read_input_tokens": usage.cached, "output_tokens": 1}
    yield {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": [], "usage": counts}}
    yield {"type": "ping"}
    for index, part in enumerate(parts):
        start: Frame
        deltas: list[Frame]
        if isinstance(part, Call):
            start = {"type": "tool_use", "id": part.id, "name": part.name, "input": {}}
            deltas = [{"type": "input_json_delta", "partial_json": delta} for delta in part.arguments]
        elif isinstance(part, Text):
            start = {"type": "text", "text": ""}
            deltas = [{"type": "text_delta", "text": delta} for delta in part.deltas]
        elif part.deltas:
            start = {"type": "thinking", "thinking": "", "signature": ""}
            deltas = [{"type": "thinking_delta", "thinking": delta} for delta in part.deltas]
            deltas += [{"type": "signature_delta", "signature": part.signature}] if part.signature else []
        else:
            start, deltas = {"type": "redacted_thinking", "data": part.signature}, []
        yield {"type": "content_block_start", "index": index, "content_block": start}
        for delta in deltas:
            yield {"type": "content_block_delta", "index": index, "delta": delta}
        yield {"type": "content_block_stop", "index": index}
    reason = "tool_use" if any(isinstance(part, Call) for part in parts) else "end_turn"
    details = {"output_tokens_details": {"thinking_tokens": usage.reasoning}}
    yield {
        "type": "message_delta",
        "delta": {"stop_reason": reason},
        "usage": {"output_tokens": usage.output, **details},
    }
    yield {"type": "message_stop"}


def generate_content_frames(parts: Sequence[Part], usage: Usage = USAGE) -> Iterator[Frame]:
    """Google's generateContent. Signatures are base64."""

    def chunk(part: Frame, **members: Any) -> Frame:
        return {"candidates": [{"index": 0, "content": {"role": "model", "parts": [part]}, **members}]}

    for part in parts:
        signature = {"thoughtSignature": part.signature} if part.signature else {}
        if isinstance(part, Call):
            call = {"name": part.name, "args": json.loads("".join(part.arguments)), "id": part.id}
            yield chunk({"functionCall": call, **signature})
            continue
        thought = {"thought": True} if isinstance(part, Reasoning) else {}
        for delta in part.deltas:
            yield chunk({"text": delta, **thought})
        if signature:
            yield chunk({"text": "", **thought, **signature})
    counts = {
        "promptTokenCount": usage.input,
        "candidatesTokenCount": usage.output - usage.reasoning,
        "thoughtsTokenCount": usage.reasoning,
        "totalTokenCount": usage.input + usage.output,
        "cachedContentTokenCount": usage.cached,
    }
    yield {**chunk({"text": ""}, finishReason="STOP"), "usageMetadata": counts}


FRAMES: Mapping[str, Callable[..., Iterator[Frame]]] = {
    "chat": chat_frames,
    "responses": responses_frames,
    "messages": messages_frames,
    "generate_content": generate_content_frames,
}
"""By the name of the API."""

APIS = tuple(FRAMES)


def sse(frame: Frame) -> bytes:
    """Returns a frame as the makers send it: with its type as the event, where it has one."""
    event = f"event: {frame['type']}\n" if "type" in frame else ""
    return f"{event}data: {json.dumps(frame)}\n\n".encode()


def stream_of(api: str, *parts: Part, usage: Usage = USAGE) -> bytes:
    """Returns the body of a response."""
    frames = b"".join(map(sse, FRAMES[api](parts, usage)))
    return frames + (b"data: [DONE]\n\n" if api == "chat" else b"")


def beginning_of(api: str, part: Part) -> list[Frame]:
    """Returns the frames of a response until the first delta of a part was sent, and before it is complete."""
    first = part.arguments[0] if isinstance(part, Call) else part.deltas[0]
    frames: list[Frame] = []
    for frame in FRAMES[api]([part]):
        frames.append(frame)
        text = json.dumps(frame)
        if json.dumps(first)[1:-1] in text or (api == "generate_content" and "functionCall" in text):
            return frames
    raise AssertionError(f"{part} has no delta")


def last_user_text(body: Mapping[str, Any]) -> str:
    """Returns the text of the last user message in the body of a request, whichever API it is for."""
    messages = body.get("messages") or body.get("input") or body.get("contents") or ()
    for message in reversed(messages):
        content = message.get("content", message.get("parts"))
        texts = [content] if isinstance(content, str) else [part["text"] for part in content or () if "text" in part]
        if message.get("role") == "user" and texts:
            return "".join(texts)
    raise AssertionError("no message of a user")
