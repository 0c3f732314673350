"""URLs in messages that no agent may fetch."""

from __future__ import annotations

import json
from typing import Any

import pytest

from copilot_runtime import CopilotRuntime, RunContext
from copilot_runtime._http.url_safety import is_fetchable
from copilot_runtime._server.endpoints import attachment_urls
from copilot_runtime._server.endpoints.attachment_urls import without_unsafe_urls
from copilot_runtime.testing import TestClient

from .cost_helpers import assert_linear
from .recorder_helpers import FINISHED, STARTED

pytestmark = pytest.mark.requirement("AGENT-08")

HANDED_ON = [
    "https://x.example/a.png",
    "http://localhost:8000/a.png?x=file://y",
    "HTTPS://X.EXAMPLE/a b.png",
    "http://user:pass@10.0.0.1/",
    "http://[2001:db8::1]:80/a",
    "https://bücher.example/ä.png",
    "data:image/png;base64,QUJD",
    "data:image/png;base64," + "QUJD" * 10_000,
    "http://169.254.example.com/",
    "http://1.2.3.4.example/",
]
NOT_HANDED_ON = [
    "file:///etc/passwd",
    " file:///etc/passwd",
    "FILE:///etc/passwd",
    "fi\tle:///etc/passwd",
    "ftp://x.example/a",
    "gs://bucket/a.png",
    "javascript:alert(1)",
    "blob:https://x.example/1",
    "/etc/passwd",
    "//169.254.169.254/latest",
    "x.example/a.png",
    "",
    "http:",
    "http://",
    "http:///a",
    "http:169.254.169.254/a",
    "http://169.254.169.254/latest/meta-data/",
    "http://169.254.0.1:80/",
    "https://user@169.254.169.254/",
    "http://x.example@169.254.169.254/",
    "http://169.254.169.254\\@x.example/",
    "http:\\\\169.254.169.254\\a",
    "http://x.example\\@169.254.169.254/",
    "\thttp://169.254.169.254/",
    "ht\ntp://169.254.169.254/",
    "http://169.254.169.254./",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://0xA9.0xFE.0xA9.0xFE/",
    "http://0251.0376.0251.0376/",
    "http://169.254.43518/",
    "http://169.16689662/",
    "http://%31%36%39.254.169.254/",
    "http://\uff11\uff16\uff19.254.169.254/",
    "http://①⑥⑨.254.169.254/",
    "http://169\u3002254\u3002169\u3002254/",
    "https://x.example/" + "a" * 10_000,
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[FEBF::1]:8080/",
    "http://[::ffff:169.254.169.254]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[2002:a9fe:a9fe::1]/",
    "http://[64:ff9b:1::a9fe:a9fe]/",
    "http://[2001:db8::5efe:169.254.169.254]/",
    "http://[2001:0:a9fe:a9fe::1]/",
    "http://[fd00:ec2::254]/",
    "http://100.100.100.200/latest/meta-data/",
    "http://metadata.google.internal/computeMetadata/v1/",
    "http://METADATA.google.internal./",
    "http://[::1",
    "http://x.example:port/",
]


async def repeats(input: Any, context: RunContext) -> Any:
    """Repeats the messages that it has received, in either form."""
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    models = [message.model_dump(mode="json", by_alias=True, exclude_none=True) for message in input.messages]
    yield {**STARTED, **ids}
    yield {"type": "CUSTOM", "name": "messages", "value": [models, context.body["messages"]]}
    yield {**FINISHED, **ids}


def received(part: dict[str, Any], **options: Any) -> list[list[dict[str, Any]]]:
    """Returns the parts that an agent receives for one: in its input and in the context's body."""
    message = {"id": "u", "role": "user", "content": [{"type": "text", "text": "look"}, part]}
    with TestClient(CopilotRuntime(agents={"a": repeats}, **options)) as client:
        result = client.run("a", [message])
    (event,) = (event for event in result.events if event["type"] == "CUSTOM")
    return [messages[0]["content"] for messages in event["value"]]


def parts(url: str) -> list[dict[str, Any]]:
    return [
        {"type": "image", "source": {"type": "url", "value": url, "mimeType": "image/png"}},
        {"type": "document", "source": {"type": "url", "value": url}},
        *([{"type": "binary", "mimeType": "image/png", "url": url}] if url else ()),
    ]


@pytest.mark.parametrize("url", HANDED_ON)
def test_attachment_url_is_handed_on(url: str) -> None:
    for part in parts(url):
        for content in received(part):
            assert url in json.dumps(content[1], ensure_ascii=False).replace("\\\\", "\\")
            assert content[1]["type"] != "text"


@pytest.mark.parametrize("url", NOT_HANDED_ON)
def test_attachment_url_that_is_not_of_the_web_is_replaced_by_a_text(url: str) -> None:
    for part in parts(url):
        for content in received(part):
            assert [each["type"] for each in content] == ["text", "text"], content
            assert content[1]["text"].startswith("[Attachment: ")


def test_attachment_url_beside_data_is_not_handed_on() -> None:
    part = {"type": "binary", "mimeType": "image/png", "url": "file:///a", "data": "QUJD"}
    assert "file:" not in str([each for content in received(part) for each in content if each["type"] != "text"])


def test_attachment_url_schemes_of_the_application() -> None:
    options = {"attachment_url_schemes": ["https", "S3"]}
    for url, is_handed_on in (("s3://bucket/a", True), ("http://x.example/a", False), ("https://x.example/a", True)):
        for content in received(parts(url)[0], **options):
            assert (content[1]["type"] != "text") is is_handed_on


@pytest.mark.parametrize(
    ("wrong", "error"), [("http", TypeError), ([1], TypeError), (["http://"], ValueError), ([""], ValueError)]
)
def test_attachment_url_schemes_must_be_a_list_of_schemes(wrong: Any, error: type[Exception]) -> None:
    with pytest.raises(error, match="attachment_url_schemes"):
        CopilotRuntime(agents={"a": repeats}, attachment_url_schemes=wrong)


def test_attachment_urls_of_what_a_tool_returned() -> None:
    call = {"id": "c", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    messages = [
        {"id": "a", "role": "assistant", "toolCalls": [call]},
        {"id": "t", "role": "tool", "toolCallId": "c", "content": parts("file:///etc/passwd")[:1]},
    ]
    with TestClient(CopilotRuntime(agents={"a": repeats})) as client:
        result = client.run("a", messages)
    (event,) = (event for event in result.events if event["type"] == "CUSTOM")
    text = "[Attachment: image (image/png, file:///etc/passwd)]"
    assert event["value"][1][1]["content"] == [{"type": "text", "text": text}]


@pytest.mark.requirement("COST-01")
@pytest.mark.parametrize(
    "url", ["http://x.example/{}", "http://{}/", "{}://x", "http://[{}]/", "http://{}@x/", "http://x:{}/"]
)
def test_attachment_urls_cost_is_proportional_to_their_length(url: str) -> None:
    assert_linear(lambda size: lambda: is_fetchable(url.format("1.:@" * 100 * size)), 5)


@pytest.mark.requirement("COST-01")
def test_attachment_urls_cost_is_proportional_to_their_number() -> None:
    def prepare(size: int) -> Any:
        content = [part for _ in range(size) for part in (*parts("file:///a"), *parts("https://x.example/"))]
        messages = [{"id": str(index), "role": "user", "content": content} for index in range(3)]
        return lambda: without_unsafe_urls({"messages": messages}, ("https",))

    assert_linear(prepare, 20)


UNSAFE = "file:///etc/passwd"
IMAGE = {"type": "image", "source": {"type": "data", "value": "QUJD", "mimeType": "image/png"}}
INTERRUPT = {"id": "i", "reason": "confirmation"}
BINARY = {"type": "binary", "mimeType": "image/png"}


@pytest.mark.parametrize(
    "part",
    [
        {**BINARY, "url": UNSAFE, "source": {"type": "data"}},
        {**BINARY, "url": UNSAFE, "source": IMAGE["source"]},
        {**BINARY, "url": UNSAFE, "source": {"type": "url", "value": "https://x.example/"}},
        {**BINARY, "url": "https://x.example/", "source": {"type": "url", "value": UNSAFE}},
        {**BINARY, "id": "file-1", "url": UNSAFE},
        {**BINARY, "id": UNSAFE},
        {**BINARY, "id": "http:169.254.169.254/"},
        {**BINARY, "id": "//169.254.169.254/", "data": "QUJD"},
        {**IMAGE, "url": UNSAFE},
        {**IMAGE, "text": "x", "source": {"type": "url", "value": UNSAFE}},
        {"type": "image", "source": {"type": "file", "value": UNSAFE, "mimeType": "image/png"}},
        {"type": "text", "text": "x", "url": UNSAFE},
    ],
    ids=str,
)
def test_attachment_url_in_another_member_is_not_handed_on(part: dict[str, Any]) -> None:
    for content in received(part):
        rest = [each for each in content[1:] if each["type"] != "text" or "url" in each]
        assert not any(unsafe in str(rest) for unsafe in (UNSAFE, "169.254"))


@pytest.mark.parametrize("file_id", ["file-1", "files/abc", "tenant:file-1", "https://x.example/v1/files/1"])
def test_attachment_ids_of_files_are_handed_on(file_id: str) -> None:
    for content in received({**BINARY, "id": file_id}):
        assert content[1]["type"] != "text"
        assert file_id in str(content[1])


def test_attachment_of_a_type_that_is_no_text_is_refused() -> None:
    part = {"type": ["image"], "source": {"type": "url", "value": UNSAFE}}
    assert "messages" in without_unsafe_urls({"messages": [{"content": [part]}]}, ("https",))


def test_attachment_url_that_agents_do_not_get_stays_in_the_thread() -> None:
    part = parts("/uploads/a.png")[0]
    message = {"id": "u", "role": "user", "content": [part]}
    with TestClient(CopilotRuntime(agents={"a": repeats})) as client:
        thread = client.run("a", [message]).events[0]["threadId"]
        replayed = client.connect("a", thread).events
    inputs = [event["input"]["messages"] for event in replayed if event["type"] == "RUN_STARTED"]
    assert inputs == [[message]]


def test_attachment_url_is_not_handed_on_by_a_run_that_resumes() -> None:
    async def asks(input: Any, context: RunContext) -> Any:
        async for event in repeats(input, context):
            is_end = event["type"] == "RUN_FINISHED"
            yield {**event, "outcome": {"type": "interrupt", "interrupts": [INTERRUPT]}} if is_end else event

    messages = [{"id": "u", "role": "user", "content": [parts("/uploads/a.png")[0]]}]
    entries = [{"interruptId": INTERRUPT["id"], "status": "resolved", "payload": "yes"}]
    with TestClient(CopilotRuntime(agents={"a": asks})) as client:
        client.run("a", messages, thread_id="t")
        for resume in (entries, [*entries, {**entries[0], "interruptId": "another"}]):
            result = client.run("a", messages, thread_id="t", extra={"resume": resume})
            (event,) = (event for event in result.events if event["type"] == "CUSTOM")
            assert {each[0]["content"][0]["type"] for each in event["value"]} == {"text"}
        inputs = [e["input"]["messages"] for e in client.connect("a", "t").events if e["type"] == "RUN_STARTED"]
    assert inputs == [messages, [], []]


def test_attachment_url_that_agents_do_not_get_is_logged_once(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(attachment_urls, "_reported", set())
    for _ in range(2):
        received(parts("/uploads/a.png")[0])
    (line,) = (record.getMessage() for record in caplog.records if "attachment" in record.getMessage())
    assert "(image)" in line
    assert "http, https" in line
    assert "attachment_url_schemes" in line
