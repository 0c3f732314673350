"""`define_tool`, and how tools are called: schema, arguments, context, results and failures."""

from __future__ import annotations

import asyncio
import functools
import json
import threading
from collections.abc import Callable
from typing import TYPE_CHECKING, Annotated, Any, Literal

import pytest
from ag_ui.core import Tool as FrontendTool
from pydantic import BaseModel, Field

from copilot_runtime.agents import RunContext, define_tool
from copilot_runtime.agents._tools import Tool, ToolError
from copilot_runtime.agents._tools.define import as_tool
from copilot_runtime.agents._tools.toolbox import Toolbox, ToolResult

if TYPE_CHECKING:
    from decimal import Decimal

    from copilot_runtime.agents import RunContext as OnlyForTypes

CONTEXT = RunContext(headers={"x-user": "ada"})


class Item(BaseModel):
    name: str
    count: int = 1


def called(tool: Tool, arguments: Any = None, *, debug: bool = False) -> ToolResult:
    text = arguments if isinstance(arguments, str) else json.dumps(arguments or {})
    return asyncio.run(Toolbox([tool], (), debug=debug).call(tool, text, CONTEXT))


# --- definition --------------------------------------------------------------


def test_define_tool_reads_name_description_and_schema_from_the_function() -> None:
    @define_tool
    def book(
        city: Annotated[str, Field(description="Where to")],
        nights: int = 1,
        item: Item | None = None,
        kind: Literal["single", "double"] = "single",
    ) -> str:
        """Books a room."""
        return city

    assert (book.name, book.description) == ("book", "Books a room.")
    assert book.parameters["required"] == ["city"]
    assert book.parameters["additionalProperties"] is False
    properties = book.parameters["properties"]
    assert properties["city"] == {"type": "string", "description": "Where to"}
    assert properties["nights"] == {"type": "integer", "default": 1}
    assert properties["kind"]["enum"] == ["single", "double"]
    assert set(book.parameters["$defs"]) == {"Item"}


def test_define_tool_name_and_description() -> None:
    @define_tool(name="other", description="Does it.")
    def this() -> None: ...

    assert (this.name, this.description, this.parameters["properties"]) == ("other", "Does it.", {})


@pytest.mark.parametrize("name", ["", "with space", "a" * 65, "ümlaut", "dots.too"])
def test_define_tool_name_must_be_valid(name: str) -> None:
    with pytest.raises(ValueError, match="the name of a tool must be"):
        define_tool(lambda: None, name=name)


def variadic(*numbers: int) -> None: ...
def keywords(**numbers: int) -> None: ...
def unreadable(price: Decimal) -> None: ...
def unknown(lock: threading.Thread) -> None: ...


@pytest.mark.parametrize("function", [variadic, keywords, unreadable, unknown])
def test_define_tool_refuses_a_function_that_cannot_be_called(function: Callable[..., Any]) -> None:
    with pytest.raises(TypeError):
        define_tool(function)


@pytest.mark.parametrize("options", [{}, {"name": "add"}])
def test_define_tool_expects_a_function(options: dict[str, Any]) -> None:
    with pytest.raises(TypeError, match=r"^define_tool\(\) expects a function, got 3$"):
        define_tool(3, **options)  # type: ignore[call-overload]
    with pytest.raises(TypeError, match=r"^define_tool\(\) expects a function, got 3$"):
        define_tool(**options)(3)


@pytest.mark.parametrize("given", [1, None, {"name": "x"}])
def test_tools_must_be_functions_or_tools(given: Any) -> None:
    with pytest.raises(TypeError, match="a tool must be a function or a Tool"):
        as_tool(given)


def test_tools_may_be_plain_functions() -> None:
    def add(a: int, b: int) -> int:
        return a + b

    tool = as_tool(add)
    assert tool.name == "add"
    assert as_tool(tool) is tool


# --- calling -----------------------------------------------------------------


def add(a: int, b: int = 2) -> int:
    return a + b


async def add_later(a: int, b: int = 2) -> int:
    await asyncio.sleep(0)
    return a + b


class Adder:
    def __call__(self, a: int, b: int = 2) -> int:
        return a + b

    def method(self, a: int, b: int = 2) -> int:
        return a + b


CALLABLES = {
    "function": add,
    "coroutine function": add_later,
    "object": Adder(),
    "method": Adder().method,
    "partial": functools.partial(add, b=2),
}


@pytest.mark.parametrize("function", CALLABLES.values(), ids=CALLABLES)
def test_tools_may_be_any_callable(function: Callable[..., Any]) -> None:
    assert called(define_tool(function, name="add"), {"a": "40"}) == ToolResult("42", "42")


def test_tools_that_are_plain_functions_do_not_block_the_event_loop() -> None:
    threads = []
    called(define_tool(lambda: threads.append(threading.get_ident()), name="here"))
    assert threads != [threading.get_ident()]


def test_tool_parameters_may_have_any_name() -> None:
    def odd(schema: str, model_config: str, _private: int, /, json: str = "j") -> list[Any]:
        return [schema, model_config, _private, json]

    tool = define_tool(odd)
    assert set(tool.parameters["properties"]) == {"schema", "model_config", "_private", "json"}
    given = {"schema": "s", "model_config": "m", "_private": 1}
    assert json.loads(called(tool, given).for_model) == ["s", "m", 1, "j"]


def by_name(context: Any) -> str:
    return str(context.headers["x-user"])


def by_type(run: RunContext) -> str:
    return run.headers["x-user"]


def by_optional_type(run: RunContext | None = None) -> str:
    return "nobody" if run is None else run.headers["x-user"]


def by_unreadable_type(context: OnlyForTypes) -> str:
    return context.headers["x-user"]


@pytest.mark.parametrize("function", [by_name, by_type, by_optional_type, by_unreadable_type])
def test_tool_context_is_not_a_parameter_of_the_schema(function: Callable[..., Any]) -> None:
    tool = define_tool(function)
    assert tool.parameters["properties"] == {}
    assert called(tool).for_model == "ada"


@pytest.mark.parametrize(
    ("arguments", "says"),
    [
        ({}, "a: Field required"),
        ({"a": "x"}, "a: Input should be a valid integer"),
        ({"a": 1, "c": 2}, "c: Extra inputs are not permitted"),
        ("{", "not JSON"),
        ('{"a": NaN}', "not JSON"),
        ('{"a": 1e400}', "not JSON"),
        ("[1]", "a JSON object"),
    ],
)
def test_tool_arguments_that_are_invalid_are_an_error_for_the_model(arguments: Any, says: str) -> None:
    result = called(define_tool(add), arguments)
    assert result.for_model.startswith("Error: ")
    assert says in result.for_model
    assert result.for_model == result.for_client


def test_tool_arguments_may_be_empty() -> None:
    assert called(define_tool(lambda: "ok", name="f"), "").for_model == "ok"


@pytest.mark.parametrize(
    ("value", "text"),
    [
        ("as it is", "as it is"),
        (None, "null"),
        (1.5, "1.5"),
        ({"ä": [1]}, '{"ä":[1]}'),
        (Item(name="x"), '{"name":"x","count":1}'),
        (float("nan"), "null"),
        (b"\xff", '"_w=="'),
    ],
)
def test_tool_result_is_text(value: Any, text: str) -> None:
    assert called(define_tool(lambda: value, name="f")) == ToolResult(text, text)


def test_tool_result_must_be_json() -> None:
    assert "cannot be serialised as JSON" in called(define_tool(lambda: object(), name="f")).for_model


def failing() -> None:
    raise ValueError("postgres://user:secret@db")


def test_tool_exception_text_is_for_the_model_only() -> None:
    tool = define_tool(failing)
    result = called(tool)
    assert "secret" in result.for_model
    assert "secret" not in result.for_client
    assert called(tool, debug=True).for_client == result.for_model


def test_tool_error_is_sent_to_the_client() -> None:
    def failing() -> None:
        raise ToolError("There is no such order.")

    assert called(define_tool(failing)) == ToolResult(*["Error: There is no such order."] * 2, failed=True)


# --- the box -----------------------------------------------------------------


def frontend(name: str) -> FrontendTool:
    return FrontendTool(name=name, description="In the page", parameters=None)


def test_tools_of_server_and_frontend_are_offered() -> None:
    box = Toolbox([define_tool(add)], [frontend("pick")], debug=False)
    assert [definition.name for definition in box.definitions] == ["add", "pick"]
    assert box.definitions[1].parameters == {"type": "object", "properties": {}}
    assert not box.is_client_tool("add")
    assert box.is_client_tool("pick")
    assert not box.is_client_tool("nobody's")


def test_tools_of_the_same_name_the_servers_first_wins(
    caplog: pytest.LogCaptureFixture,
) -> None:
    first, second = define_tool(add), define_tool(add_later, name="add")
    box = Toolbox([first, second], [frontend("add")], debug=False)
    assert box.get("add") is first
    assert len(box.definitions) == 1
    assert not box.is_client_tool("add")
    assert len(caplog.records) == 2


# --- tools that interrupt ----------------------------------------------------


def pay(amount: int, answer: Literal["yes", "no"], context: Any) -> str:
    """Pays."""
    return f"{answer} {amount} {context.headers['x-user']}"


async def pay_later(amount: int, answer: Literal["yes", "no"], context: Any) -> str:
    return pay(amount, answer, context)


def resumed(tool: Tool, arguments: str, answer: Any) -> ToolResult:
    return asyncio.run(Toolbox([tool], (), debug=False).resume(tool, arguments, answer, CONTEXT))


@pytest.mark.parametrize("function", [pay, pay_later])
def test_define_tool_interrupt_is_called_with_the_answer(function: Callable[..., Any]) -> None:
    tool = define_tool(function, interrupt=True)
    assert set(tool.parameters["properties"]) == {"amount"}
    assert resumed(tool, '{"amount": 5}', "yes").for_model == "yes 5 ada"


def test_define_tool_interrupt_question_has_a_response_schema() -> None:
    tool = define_tool(pay, interrupt=True, interrupt_reason="approval", interrupt_message="Really?")
    assert tool.interrupt is not None
    assert tool.interrupt.to_event("c1") == {
        "id": "c1",
        "toolCallId": "c1",
        "reason": "approval",
        "message": "Really?",
        "responseSchema": {"enum": ["yes", "no"], "type": "string"},
    }


def test_define_tool_interrupt_without_a_type_has_no_schema() -> None:
    def ask(answer: Any) -> Any:
        return answer

    tool = define_tool(ask, interrupt=True)
    assert tool.interrupt is not None
    assert tool.interrupt.to_event("c1") == {"id": "c1", "toolCallId": "c1", "reason": "tool_call"}
    assert resumed(tool, "{}", {"any": 1}).for_model == '{"any":1}'


@pytest.mark.parametrize(
    ("arguments", "answer"), [('{"amount": 5}', "maybe"), ('{"amount": "x"}', "yes"), ("{", "yes")]
)
def test_define_tool_interrupt_invalid_answers_do_not_call_the_function(arguments: str, answer: str) -> None:
    assert resumed(define_tool(pay, interrupt=True), arguments, answer).for_model.startswith("Error: ")


def test_define_tool_interrupt_arguments_are_validated_first() -> None:
    tool = define_tool(pay, interrupt=True)
    assert called(tool, {"amount": 5}).failed is False
    assert called(tool, {"amount": "x"}).failed is True


def test_define_tool_interrupt_requires_a_parameter_for_the_answer() -> None:
    with pytest.raises(TypeError, match="answer"):
        define_tool(add, interrupt=True)


def test_define_tool_interrupt_answer_type_must_be_known_to_pydantic() -> None:
    def ask(answer: threading.Thread) -> None: ...

    with pytest.raises(TypeError, match="answer"):
        define_tool(ask, interrupt=True)


def test_define_tool_parameter_called_answer_without_interrupt() -> None:
    assert set(define_tool(pay).parameters["properties"]) == {"amount", "answer"}
