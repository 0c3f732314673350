"""The demo agent ``default``: replies in Markdown by simple rules, looks at attachments, and suggests messages."""

from __future__ import annotations

import re
from typing import Any

from ag_ui.core import RunAgentInput

from .events import Events, last_user_content, last_user_text, new_id, text_message, tool_call

_MARKDOWN = """\
## What this chat shows

A model writes **Markdown**, and a chat shows it: *emphasis*, `code`, ~~mistakes~~, \
[links](https://github.com/ag-ui-protocol/ag-ui), and lists:

1. text that arrives *piece by piece*
2. lists
   - within lists
   - [x] with what is done
   - [ ] and what is not

| event | carries |
|---|---|
| `TEXT_MESSAGE_CONTENT` | a piece of text |
| `STATE_DELTA` | a JSON Patch |

```python
async def agent(input):
    ids = {"threadId": input.thread_id, "runId": input.run_id}
    yield {"type": "RUN_STARTED", **ids}
    yield {"type": "TEXT_MESSAGE_CHUNK", "messageId": "1", "delta": "Hello!"}
    yield {"type": "RUN_FINISHED", **ids}
```

> This is a quotation: the function above is a whole agent.
"""

_REPLIES = (
    (r"markdown|code|table|format", _MARKDOWN),
    (
        r"hello|hi|hey",
        "Hello! I am a small **demo agent**. Ask me what this is, what I can do, or to show you Markdown.",
    ),
    (
        r"what.*(this|that)|who",
        "This is a CopilotKit runtime written in **Python**. The page sends your messages to it over HTTP, and I "
        "answer with a stream of events, one chunk of text after the other. You see each of them under *Events*.",
    ),
    (
        r"can|help|do",
        "I follow a few fixed rules, and look at files that you attach. The other agents in the menu show more:\n\n"
        "- `tools`: a tool that runs in this page\n- `approval`: a question before something happens\n"
        "- `state`: a shopping list that we share\n- `reasoning`: thoughts before an answer\n"
        "- `activity`: progress while it works\n- `long`: an answer to stop, or to lose the connection in\n"
        "- `fails`: a failure",
    ),
    (
        r"reload|thread|remember",
        "Reload the page: this thread comes back, because the runtime stores its events. Or open it in a second tab.",
    ),
    (r"thank(s| you)|bye", "You are welcome."),
)

_SUGGESTION_TOOL = "copilotkitSuggest"
_SUGGESTIONS = (
    ("Show Markdown", "Show me Markdown with code and a table"),
    ("What is this?", "What is this?"),
    ("What can you do?", "What can you do?"),
)


async def answer(run_input: RunAgentInput) -> Events:
    """Yields the events of one run."""
    if _SUGGESTION_TOOL in {tool.name for tool in run_input.tools or ()}:
        suggestions = [{"title": title, "message": message} for title, message in _SUGGESTIONS]
        async for event in tool_call(_SUGGESTION_TOOL, {"suggestions": suggestions}, new_id()):
            yield event
        return
    text = last_user_text(run_input)
    matching = (reply for pattern, reply in _REPLIES if re.search(rf"\b({pattern})\b", text, re.IGNORECASE))
    fallback = f"You wrote {len(text.split())} word(s): “{text}”. Ask me what this is, or what I can do."
    files = _describe_attachments(last_user_content(run_input))
    reply = next(matching, "I cannot read them, but they have arrived." if files else fallback)
    async for event in text_message(files + reply):
        yield event


def _describe_attachments(content: Any) -> str:
    """Returns what is attached to a message, as a list in Markdown; an empty text for nothing."""
    parts = [] if isinstance(content, str) else [part for part in content if part.type != "text"]
    lines = [f"- {part.type}{_describe_source(getattr(part, 'source', None))}" for part in parts]
    return "You have sent:\n\n" + "\n".join(lines) + "\n\n" if lines else ""


def _describe_source(source: Any) -> str:
    data, mime_type = getattr(source, "value", None), getattr(source, "mime_type", None)
    if getattr(source, "type", None) != "data" or not isinstance(data, str):
        return ""
    size = len(data) * 3 // 4 - data[-2:].count("=")  # base64
    return f" of type `{mime_type}`, {size:,} bytes"
