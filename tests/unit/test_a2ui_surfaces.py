"""From the events of an agent to those of its surfaces."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from ag_ui.core import RunAgentInput

from copilot_runtime._events import apply_events
from copilot_runtime.middleware._a2ui.operations import OPERATIONS
from copilot_runtime.middleware._a2ui.options import A2UI, A2UIRecovery
from copilot_runtime.middleware._a2ui.surfaces import SurfaceOptions
from copilot_runtime.middleware._a2ui.surfaces import Surfaces as UntrackedSurfaces
from copilot_runtime.middleware._a2ui.validation import find_errors
from copilot_runtime.middleware._open_calls import OpenCalls

from .cost_helpers import assert_linear

pytestmark = pytest.mark.requirement("A2UI-01")

Event = dict[str, Any]

BASIC = "https://a2ui.org/specification/v0_9/basic_catalog.json"
TEXT = [{"id": "root", "component": "Text", "text": "Hi"}]
LIST = [
    {"id": "root", "component": "Column", "children": {"componentId": "card", "path": "/flights"}},
    {"id": "card", "component": "Text", "text": {"path": "name"}},
]
NO_ROOT = [{"id": "main", "component": "Text", "text": "Hi"}]
FINISHED = {"type": "RUN_FINISHED", "threadId": "t", "runId": "r"}


def input_of(messages: Sequence[Event]) -> RunAgentInput:
    members: dict[str, Any] = {"state": {}, "tools": [], "context": [], "forwarded_props": {}}
    return RunAgentInput(thread_id="t", run_id="r", messages=messages, **members)


class Surfaces(UntrackedSurfaces):
    """Those of a run on a thread with these messages."""

    def __init__(self, options: SurfaceOptions, earlier: Sequence[Event] = ()) -> None:
        self.seen: list[Event] = []
        super().__init__(options, lambda: apply_events(earlier, self.seen), OpenCalls(input_of(earlier)))

    def process(self, event: Event) -> Iterable[Event]:
        self.seen.append(event)
        return super().process(event)


def options(**changes: Any) -> SurfaceOptions:
    values: dict[str, Any] = {
        "tool_names": frozenset(("render_a2ui",)),
        "catalog_id": None,
        "catalog": None,
        "frontend_tools": frozenset(),
        "recovery": A2UIRecovery(show_progress_tokens=False),
    }
    return SurfaceOptions(**{**values, **changes})


def start(call: str, name: str = "render_a2ui", message: str | None = None) -> Event:
    parent = {} if message is None else {"parentMessageId": message}
    return {"type": "TOOL_CALL_START", "toolCallId": call, "toolCallName": name, **parent}


def arguments(call: str, delta: str) -> Event:
    return {"type": "TOOL_CALL_ARGS", "toolCallId": call, "delta": delta}


def end(call: str) -> Event:
    return {"type": "TOOL_CALL_END", "toolCallId": call}


def result(call: str, content: Any) -> Event:
    return {"type": "TOOL_CALL_RESULT", "messageId": f"{call}-m", "toolCallId": call, "content": content}


def render(call: str = "c", message: str | None = None, **members: Any) -> list[Event]:
    return [start(call, message=message), arguments(call, json.dumps({"surfaceId": "s", **members})), end(call)]


def other(call: str, message: str | None = None) -> list[Event]:
    return [start(call, "search", message), arguments(call, "{}"), end(call)]


def run(events: Iterable[Event], surfaces: Surfaces | None = None) -> list[Event]:
    surfaces = surfaces or Surfaces(options())
    return [each for event in events for each in surfaces.process(event)]


def activities(events: Iterable[Event]) -> list[tuple[str, Any]]:
    """The messages and contents of the activities among events; of an operation only the object that it is."""
    return [
        (each["messageId"].removeprefix("a2ui-surface-"), each["content"])
        for each in events
        if each["type"] == "ACTIVITY_SNAPSHOT"
    ]


def shown(events: Iterable[Event]) -> dict[str, Any]:
    """What each place in the chat shows at the end."""
    return dict(activities(events))


def data_of(content: Any) -> Any:
    return next((each["updateDataModel"]["value"] for each in content[OPERATIONS] if "updateDataModel" in each), None)


def results(events: Iterable[Event]) -> dict[str, Any]:
    return {each["toolCallId"]: json.loads(each["content"]) for each in events if each["type"] == "TOOL_CALL_RESULT"}


def test_other_events_pass_unchanged() -> None:
    events = [{"type": "RUN_STARTED"}, {"type": "CUSTOM", "name": "x"}, *other("o"), result("o", "found"), FINISHED]
    processed = run(events)
    assert processed == events
    assert all(one is two for one, two in zip(processed, events, strict=True))


@pytest.mark.parametrize(
    "event",
    [
        {"type": "TOOL_CALL_START", "toolCallId": "c"},
        {"type": "TOOL_CALL_ARGS", "toolCallId": "c", "delta": None},
        {"type": "TOOL_CALL_RESULT", "toolCallId": 1, "content": "{}"},
        {"type": ["list"]},
        {},
    ],
)
def test_invalid_events_are_left_to_the_check_of_all_events(event: Event) -> None:
    assert run([start("c"), event])[2:] == [event]


def test_surface_appears_with_the_last_component_and_grows_by_items() -> None:
    surfaces = Surfaces(options())
    parts = [
        '{"surfaceId":"s","components":' + json.dumps(LIST)[:-1],
        "]",
        ',"data":{"flights":[{"name":"1"}',
        ',{"name":"2"}',
        "]}",
        "}",
    ]
    run([start("c")], surfaces)
    seen = [activities(run([arguments("c", part)], surfaces)) for part in parts]
    data = [[data_of(content) for _, content in each] for each in seen]
    one, two = {"flights": [{"name": "1"}]}, {"flights": [{"name": "1"}, {"name": "2"}]}
    assert data == [[], [None], [one], [two], [two], []]
    operations = seen[1][0][1][OPERATIONS]
    assert operations == [
        {"version": "v0.9", "createSurface": {"surfaceId": "s", "catalogId": BASIC}},
        {"version": "v0.9", "updateComponents": {"surfaceId": "s", "components": LIST}},
    ]
    assert results(run([end("c"), FINISHED], surfaces)) == {"c": {"status": "rendered"}}


def test_surface_is_sent_before_the_arguments_that_complete_it() -> None:
    events = run(render(components=TEXT))
    assert [each["type"] for each in events] == [
        "ACTIVITY_SNAPSHOT",
        "TOOL_CALL_START",
        "ACTIVITY_SNAPSHOT",
        "TOOL_CALL_ARGS",
        "TOOL_CALL_END",
    ]


def test_surface_id_may_come_last_or_not_at_all() -> None:
    last = json.dumps({"components": TEXT, "surfaceId": "late"})
    events = run([start("c"), arguments("c", last), end("c"), start("d"), arguments("d", '{"components":'), FINISHED])
    assert shown(events)["c"][OPERATIONS][0]["createSurface"]["surfaceId"] == "late"
    unnamed = run([start("c"), arguments("c", json.dumps({"surfaceId": 5, "components": TEXT})), end("c"), FINISHED])
    assert shown(unnamed)["c"][OPERATIONS][0]["createSurface"]["surfaceId"] == "dynamic-surface"
    assert results(unnamed) == {"c": {"status": "rendered"}}


@pytest.mark.parametrize(
    ("configured", "named", "catalog"),
    [(None, None, BASIC), (None, "basic", BASIC), (None, "x", "x"), ("app", "x", "app"), (None, 5, BASIC)],
)
def test_catalog_of_a_surface(configured: str | None, named: Any, catalog: str) -> None:
    members = {} if named is None else {"catalogId": named}
    events = run(render(**members, components=TEXT), Surfaces(options(catalog_id=configured)))
    assert shown(events)["c"][OPERATIONS][0]["createSurface"]["catalogId"] == catalog


@pytest.mark.parametrize(
    ("text", "code"),
    [
        (json.dumps({"surfaceId": "s", "components": NO_ROOT}), "no_root"),
        (json.dumps({"surfaceId": "s", "components": []}), "empty_components"),
        (json.dumps({"surfaceId": "s", "components": ["root"]}), "missing_id"),
        (json.dumps({"surfaceId": "s", "components": {"id": "root"}}), "empty_components"),
        (json.dumps({"surfaceId": "s", "components": [{"id": "root"}]}), "missing_component_type"),
        ('{"surfaceId": "s", "components": [NaN]}', "invalid_arguments"),
        ('{"surfaceId": "s", "components": [{"id": oops}]}', "invalid_arguments"),
        ("not json", "invalid_arguments"),
        ("", "invalid_arguments"),
    ],
)
def test_surface_that_is_not_valid_is_never_drawn_and_the_model_learns_why(text: str, code: str) -> None:
    events = run([start("c"), *(arguments("c", character) for character in text), end("c"), FINISHED])
    assert not any(OPERATIONS in content for _, content in activities(events))
    assert shown(events)["c"]["status"] == "failed"
    content = results(events)["c"]
    assert content["status"] == "error"
    assert code in [error["code"] for error in content["errors"]]
    assert [each["type"] for each in events[-3:]] == ["ACTIVITY_SNAPSHOT", "TOOL_CALL_RESULT", "RUN_FINISHED"]


def test_catalog_validates_components() -> None:
    catalog = {"components": {"Column": {"required": ["children"]}}}
    for components, code in (
        (TEXT, "unknown_component"),
        ([{"id": "root", "component": "Column"}], "missing_required_prop"),
    ):
        events = run([*render(components=components), FINISHED], Surfaces(options(catalog=catalog)))
        assert results(events)["c"]["errors"][0]["code"] == code


def test_attempts_within_another_call_take_the_same_place() -> None:
    surfaces = Surfaces(
        options(recovery=A2UIRecovery(max_attempts=2, debug_exposure="verbose", show_progress_tokens=False))
    )
    events = run([*other("o"), *render("c1", components=NO_ROOT), *render("c2", components=TEXT)], surfaces)
    states = [content for key, content in activities(events) if key == "o"]
    assert [state.get("status") for state in states] == ["building", "retrying", None]
    assert states[1] | {"errors": []} == {
        "status": "retrying",
        "attempt": 2,
        "maxAttempts": 2,
        "errors": [],
        "debugExposure": "verbose",
    }
    repeated = json.dumps({OPERATIONS: states[2][OPERATIONS]})
    assert activities(run([result("o", repeated)], surfaces)) == []


def test_calls_of_one_message_are_drawn_side_by_side() -> None:
    """Node takes the call of a frontend tool for the outer call of both: the second surface replaces the first."""
    events = run([*other("o", "m"), *render("c1", "m", components=TEXT), *render("c2", "m", components=TEXT), FINISHED])
    assert list(shown(events)) == ["c1", "c2"]


@pytest.mark.parametrize("between", ["pick_date", "generateSandboxedUi"])
def test_calls_without_a_message_are_not_within_that_of_a_frontend_tool(between: str) -> None:
    """It runs after the run. In Node both surfaces have the place of the frontend's call, and only one is seen."""
    frontend = [start("f", between), arguments("f", "{}"), end("f")]
    surfaces = Surfaces(options(frontend_tools=frozenset(("pick_date", "generateSandboxedUi"))))
    calls = [*other("o"), *frontend, *render("c1", components=TEXT), *render("c2", components=TEXT), FINISHED]
    assert list(shown(run(calls, surfaces))) == ["c1", "c2"]


def test_call_within_another_one_that_was_made_beside_that_of_a_frontend_tool() -> None:
    frontend = [start("f", "pick_date", "m"), arguments("f", "{}"), end("f")]
    surfaces = Surfaces(options(frontend_tools=frozenset(("pick_date",))))
    assert list(shown(run([*other("o", "m"), *frontend, *render("c", "within", components=TEXT)], surfaces))) == ["o"]


def test_results_of_calls_side_by_side_are_drawn_side_by_side() -> None:
    """Node gives the first result the place of the second one, which then replaces it."""
    surface = json.dumps({OPERATIONS: [{"updateComponents": {"surfaceId": "s", "components": TEXT}}]})
    events = run([*other("o1"), *other("o2"), result("o1", surface), result("o2", surface)])
    assert list(shown(events)) == ["o1", "o2"]


@pytest.mark.parametrize(
    "content",
    [
        json.dumps({OPERATIONS: [{"createSurface": {"surfaceId": "s"}}, None, "x"]}),
        json.dumps(json.dumps({OPERATIONS: [{"createSurface": {"surfaceId": "s"}}]})),
        [{"type": "text", "text": json.dumps({OPERATIONS: [{"createSurface": {"surfaceId": "s"}}]})}],
    ],
)
def test_result_with_operations_becomes_a_surface(content: Any) -> None:
    events = run([*other("o"), result("o", content)])
    assert activities(events) == [("o", {OPERATIONS: [{"createSurface": {"surfaceId": "s"}}]})]
    assert events[-2]["type"] == "TOOL_CALL_RESULT"


@pytest.mark.parametrize(
    "content",
    [
        "",
        "a2ui_operations",
        '{"a2ui_operations": 1}',
        '{"a2ui_operations": []}',
        '[{"a2ui_operations": []}]',
        '"a2ui_operations"',
        json.dumps({OPERATIONS: [{"createSurface": {"surfaceId": "s", "deep": json.loads("[" * 190 + "]" * 190)}}]}),
        None,
        5,
    ],
)
def test_other_results_become_nothing(content: Any) -> None:
    assert activities(run([*other("o"), result("o", content)])) == []


def test_result_with_several_surfaces_has_a_place_for_each() -> None:
    operations = [{"createSurface": {"surfaceId": each}} for each in ("a", "b")] + [{"unknown": 1}]
    events = run([*other("o"), result("o", json.dumps({OPERATIONS: operations}))])
    assert list(shown(events)) == ["a-o", "b-o", "default-o"]


def test_result_with_several_surfaces_takes_the_place_of_attempts() -> None:
    operations = [{"createSurface": {"surfaceId": each}} for each in ("a", "b")]
    content = json.dumps({OPERATIONS: operations})
    events = run([*other("o"), *render("c", components=NO_ROOT), result("o", content), FINISHED])
    assert shown(events) == {"o": {OPERATIONS: operations}}


def test_tool_that_has_used_up_its_attempts_shows_a_failure() -> None:
    failure = {"code": "a2ui_recovery_exhausted", "error": "No luck", "attempts": [{"attempt": 1}, {"attempt": 2}]}
    events = run([*other("o"), *render("c1", components=NO_ROOT), result("o", json.dumps(failure)), FINISHED])
    assert shown(events)["o"] == {
        "status": "failed",
        "error": "No luck",
        "attempts": failure["attempts"],
        "maxAttempts": 2,
    }


@pytest.mark.parametrize("ending", ["RUN_FINISHED", "RUN_ERROR", "exception"])
def test_no_surface_stays_under_construction(ending: str) -> None:
    """In Node such a place says for good that a surface is being built, also after a reload."""
    surfaces = Surfaces(options())
    events = run([*render("c1", components=TEXT), start("c2"), arguments("c2", '{"surfaceId": "s", "comp')], surfaces)
    events += surfaces.fail_unfinished() if ending == "exception" else run([{"type": ending}], surfaces)
    assert shown(events)["c2"]["status"] == "failed"
    assert OPERATIONS in shown(events)["c1"]
    assert list(surfaces.fail_unfinished()) == []


def test_result_of_the_agent_is_the_only_one() -> None:
    surfaces = Surfaces(options())
    run([*render("c1", components=TEXT), result("c1", "seen"), *render("c2", components=TEXT)], surfaces)
    answer = {"id": "r", "role": "tool", "toolCallId": "c2", "content": "seen"}
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": [*apply_events((), surfaces.seen), answer]}
    assert run([snapshot, FINISHED], surfaces) == [snapshot, FINISHED]


@pytest.mark.parametrize("interrupts", [[{"id": "i", "toolCallId": "c"}], [None], [{}], 5, None])
def test_call_that_waits_for_the_user_gets_no_result(interrupts: Any) -> None:
    finished = {**FINISHED, "outcome": {"type": "interrupt", "interrupts": interrupts}}
    waits = isinstance(interrupts, list) and bool(interrupts[0])
    assert [*results(run([*render(components=TEXT), finished]))] == ([] if waits else ["c"])


def test_call_that_a_snapshot_of_the_messages_lacks_gets_no_result() -> None:
    """So it is with the tool of ag-ui-langgraph: to the model the calls within it do not exist."""
    snapshot = {"type": "MESSAGES_SNAPSHOT", "messages": []}
    assert run([*render(components=TEXT), snapshot, FINISHED])[-2:] == [snapshot, FINISHED]


def test_call_that_only_a_snapshot_of_the_messages_has_is_drawn() -> None:
    """In Node the model learns that it was rendered, and the user sees nothing."""
    function = {"name": "render_a2ui", "arguments": json.dumps({"surfaceId": "s", "components": TEXT})}
    broken = {"name": "render_a2ui", "arguments": "{"}

    def message(call: str, function: Any) -> Event:
        return {
            "id": f"m-{call}",
            "role": "assistant",
            "toolCalls": [{"id": call, "type": "function", "function": function}],
        }

    old, answered = message("old", function), message("answered", function)
    answer = {"id": "r", "role": "tool", "toolCallId": "answered", "content": "seen"}
    snapshot = {
        "type": "MESSAGES_SNAPSHOT",
        "messages": [old, answered, answer, message("new", function), message("broken", broken)],
    }
    surfaces = Surfaces(options(), [old])
    events = run([snapshot, snapshot, FINISHED], surfaces)
    assert {key: OPERATIONS in content for key, content in activities(events)} == {"new": True, "broken": False}
    assert {key: value["status"] for key, value in results(events).items()} == {"new": "rendered", "broken": "error"}
    assert [each["type"] for each in events if each["type"].startswith("TOOL_CALL")] == ["TOOL_CALL_RESULT"] * 2


UPDATE = {"version": "v0.9", "updateDataModel": {"surfaceId": "s", "path": "/flights", "value": []}}


def rendered_earlier(**members: Any) -> Event:
    function = {"name": "render_a2ui", "arguments": json.dumps({"surfaceId": "s", **members})}
    return {"id": "m", "role": "assistant", "toolCalls": [{"id": "old", "type": "function", "function": function}]}


def resulted_earlier(*operations: Event, call: str = "old") -> Event:
    return {"id": f"{call}-r", "role": "tool", "toolCallId": call, "content": json.dumps({OPERATIONS: operations})}


@pytest.mark.parametrize(
    "message",
    [
        rendered_earlier(components=LIST, data={"flights": [1]}),
        resulted_earlier(
            {"createSurface": {"surfaceId": "s", "catalogId": BASIC}},
            {"updateComponents": {"surfaceId": "s", "components": LIST}},
            {"updateDataModel": {"surfaceId": "s", "value": {"flights": [1]}}},
        ),
    ],
)
def test_result_that_updates_an_earlier_surface_draws_all_of_it(message: Event) -> None:
    """In Node it draws nothing: the frontend knows only the operations of the same place."""
    answer = {"id": "x-r", "role": "tool", "toolCallId": "x", "content": "[" * 9000}
    surfaces = Surfaces(options(), [message, {"id": "u", "role": "user", "content": "Hi"}, answer])
    events = run([*other("o"), result("o", json.dumps({OPERATIONS: [UPDATE]}))], surfaces)
    assert shown(events)["o"][OPERATIONS] == [
        {"version": "v0.9", "createSurface": {"surfaceId": "s", "catalogId": BASIC}},
        {"version": "v0.9", "updateComponents": {"surfaceId": "s", "components": LIST}},
        {"version": "v0.9", "updateDataModel": {"surfaceId": "s", "path": "/", "value": {"flights": [1]}}},
        UPDATE,
    ]


def updated(call: str, surface: str = "s", **members: Any) -> list[Event]:
    """Returns the events of a tool whose result updates a surface."""
    [(operation, values)] = members.items()
    content = json.dumps({OPERATIONS: [{"version": "v0.9", operation: {"surfaceId": surface, **values}}]})
    return [*other(call), result(call, content)]


def test_result_that_updates_a_surface_again_draws_all_of_it() -> None:
    """As in the frontend, components are merged by their ids, and data by its path."""
    title = {"id": "title", "component": "Text", "text": "Flights"}
    earlier = rendered_earlier(components=[*LIST, title], data={"flights": [1], "day": "Monday"})
    events = run(
        [
            *updated("o1", updateDataModel={"path": "/flights", "value": [1, 2]}),
            *updated("o2", updateDataModel={"path": "/day", "value": "Tuesday"}),
            *updated("o3", updateComponents={"components": [{"id": "title", "text": "Trains"}]}),
            *updated("o4", updateDataModel={"path": "/flights/0", "value": 3}),
            *updated("o5", updateDataModel={"path": "/flights", "value": [4]}),
            *updated("o6", updateDataModel={"value": {}}),
        ],
        Surfaces(options(), [earlier]),
    )
    drawn = {key: content[OPERATIONS] for key, content in shown(events).items()}
    data = {key: [each["updateDataModel"] for each in of if "updateDataModel" in each] for key, of in drawn.items()}
    paths = {key: [(each.get("path", "/"), each["value"]) for each in of] for key, of in data.items()}
    root = ("/", {"flights": [1], "day": "Monday"})
    assert paths["o2"] == [root, ("/flights", [1, 2]), ("/day", "Tuesday")]
    assert drawn["o4"][1]["updateComponents"]["components"] == [*LIST, {**title, "text": "Trains"}]
    assert paths["o4"] == [root, ("/flights", [1, 2]), ("/day", "Tuesday"), ("/flights/0", 3)]
    assert paths["o5"] == [*paths["o4"], ("/flights", [4])]
    assert paths["o6"] == [root, ("/day", "Tuesday"), ("/flights", [4]), ("/", {})]


def test_result_that_updates_a_surface_of_the_same_run_draws_all_of_it() -> None:
    events = run([*render(components=TEXT), *updated("o", updateDataModel={"path": "/x", "value": 1}), FINISHED])
    assert [next(iter(each)) if len(each) == 1 else [*each][1] for each in shown(events)["o"][OPERATIONS]] == [
        "createSurface",
        "updateComponents",
        "updateDataModel",
    ]


def test_updates_cost_steps_and_bytes_in_proportion() -> None:
    def prepare(size: int) -> Any:
        messages = [{**rendered_earlier(components=TEXT), "id": str(index)} for index in range(size)]
        surfaces = UntrackedSurfaces(options(), lambda: messages, OpenCalls(input_of(())))
        updates = [updated(f"o{index}", updateDataModel={"path": "/x", "value": index}) for index in range(size)]

        def process() -> None:
            for event in (each for update in updates for one in update for each in surfaces.process(one)):
                json.dumps(event)

        return process

    assert_linear(prepare, size=20)


@pytest.mark.parametrize(
    "messages",
    [
        [],
        [rendered_earlier()],
        [rendered_earlier(components="x")],
        [rendered_earlier(components=[])],
        [rendered_earlier(components=NO_ROOT)],
        [rendered_earlier(components=LIST), resulted_earlier({"deleteSurface": {"surfaceId": "s"}}, call="x")],
    ],
)
def test_result_that_updates_no_known_surface_is_passed_on(messages: list[Event]) -> None:
    surfaces = Surfaces(options(), messages)
    events = run([*other("o"), result("o", json.dumps({OPERATIONS: [UPDATE]}))], surfaces)
    assert shown(events)["o"] == {OPERATIONS: [UPDATE]}


def test_call_of_log_a2ui_event_is_no_outer_call() -> None:
    events = run([start("l", "log_a2ui_event"), end("l"), *render(components=TEXT)])
    assert list(shown(events)) == ["c"]


def test_show_progress_tokens_counts_in_steps() -> None:
    surfaces = Surfaces(options(recovery=A2UIRecovery()))
    events = run([start("c"), *(arguments("c", "x" * 20) for _ in range(20))], surfaces)
    assert [content.get("progressTokens") for _, content in activities(events)] == [None, 20, 40, 60, 80, 100]
    assert len(activities(run([start("c"), arguments("c", "x" * 4000)]))) == 1


def test_streamed_surface_costs_steps_and_bytes_in_proportion() -> None:
    def prepare(size: int) -> Any:
        surfaces = Surfaces(options(recovery=A2UIRecovery()))
        data = {"flights": [{"name": "x" * 20} for _ in range(size)]}
        text = json.dumps({"surfaceId": "s", "components": LIST, "data": data})
        events = [start("c"), *(arguments("c", text[i : i + 4]) for i in range(0, len(text), 4)), end("c"), FINISHED]

        def process() -> None:
            for event in run(events, surfaces):
                json.dumps(event)

        return process

    assert_linear(prepare, 60)


def test_components_cost_steps_and_bytes_in_proportion() -> None:
    def prepare(size: int) -> Any:
        cards = [{"id": f"c{number}", "component": "Text", "text": "x"} for number in range(size)]
        root = {"id": "root", "component": "Column", "children": [card["id"] for card in cards]}
        text = json.dumps({"surfaceId": "s", "components": [root, *cards]})
        events = [start("c"), *(arguments("c", text[i : i + 4]) for i in range(0, len(text), 4)), end("c")]
        return lambda: run(events)

    assert_linear(prepare, 40)


def circles(size: int) -> list[Event]:
    """Components each of which refers to the next one and to all others before it."""
    names = ["root", *(f"c{number}" for number in range(size))]
    following = [*names[1:], "root"]
    return [
        {"id": name, "component": "Column", "children": [following[index], *names[: min(index, 9)]]}
        for index, name in enumerate(names)
    ]


def dangling(size: int) -> list[Event]:
    return [{"id": "root", "component": "Column", "children": [f"x{number}" for number in range(size)]}]


@pytest.mark.parametrize("components", [circles, dangling])
def test_errors_cost_steps_and_bytes_in_proportion(components: Any) -> None:
    def prepare(size: int) -> Any:
        made = components(size)
        return lambda: find_errors(made, None)

    assert_linear(prepare, 200)


def test_circle_of_a_few_components_is_written_out() -> None:
    events = run([*render(components=circles(1)), FINISHED])
    errors = {error["code"]: error["message"] for error in results(events)["c"]["errors"]}
    assert errors == {"child_cycle": "Child reference cycle detected: c0 -> root -> c0"}
    [error] = results(run([*render(components=circles(3000)), FINISHED]))["c"]["errors"]
    assert error["code"] == "child_cycle"


def test_large_surface_without_circles_is_drawn() -> None:
    cards = [{"id": f"c{number}", "component": "Text"} for number in range(900)]
    root = {"id": "root", "component": "Column", "children": [card["id"] for card in cards]}
    assert OPERATIONS in shown(run(render(components=[root, *cards])))["c"]


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"enabled": 1}, TypeError),
        ({"agents": "default"}, TypeError),
        ({"tool_names": "render_a2ui"}, TypeError),
        ({"inject_tool": ""}, TypeError),
        ({"inject_tool": 5}, TypeError),
        ({"default_catalog_id": ""}, TypeError),
        ({"recovery": {"maxAttempts": 2}}, TypeError),
        ({"schema": "catalog.json"}, TypeError),
        ({"schema": {"catalogId": "x"}}, TypeError),
        ({"schema": {"catalogId": "x", "components": {"Text": 5}}}, TypeError),
        ({"schema": [{"props": {}}]}, TypeError),
    ],
)
def test_a2ui_options_are_checked(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error, match=f"A2UI: {next(iter(arguments))}"):
        A2UI(**arguments)


@pytest.mark.parametrize("arguments", [{"debug_exposure": "open"}, {"max_attempts": 0}])
def test_a2ui_recovery_options_are_checked(arguments: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="A2UIRecovery"):
        A2UIRecovery(**arguments)
