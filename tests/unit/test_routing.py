"""What a path is recognised as (docs/protocol.md, section 2), and what of it a server's raw target is believed."""

from __future__ import annotations

import subprocess
import sys
from typing import Any
from urllib.parse import quote, unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from copilot_runtime._http.target import (
    _split_targets,
    decode_segment,
    normalize_base_path,
    segments_below,
    split_raw_target,
)
from copilot_runtime._http.types import Request
from copilot_runtime._server.router import Router
from copilot_runtime._server.routes import ROUTES

# A path below the base, its pattern, and the ids; None for a path that is nothing.
MATCHES: dict[str, tuple[str, dict[str, str]] | None] = {
    "info": ("/info", {}),
    "inspector-metadata": ("/inspector-metadata", {}),
    "inspector-learning": ("/inspector-learning", {}),
    "transcribe": ("/transcribe", {}),
    "cpk-debug-events": ("/cpk-debug-events", {}),
    "annotate": ("/annotate", {}),
    "threads": ("/threads", {}),
    "threads/clear": ("/threads/clear", {}),
    "threads/subscribe": ("/threads/subscribe", {}),
    "threads/t": ("/threads/{thread_id}", {"thread_id": "t"}),
    "threads/t/messages": ("/threads/{thread_id}/messages", {"thread_id": "t"}),
    "threads/t/events": ("/threads/{thread_id}/events", {"thread_id": "t"}),
    "threads/t/state": ("/threads/{thread_id}/state", {"thread_id": "t"}),
    "threads/t/archive": ("/threads/{thread_id}/archive", {"thread_id": "t"}),
    "agent/a/run": ("/agent/{agent_id}/run", {"agent_id": "a"}),
    "agent/a/connect": ("/agent/{agent_id}/connect", {"agent_id": "a"}),
    "agent/a/suggest": ("/agent/{agent_id}/suggest", {"agent_id": "a"}),
    "agent/a/stop/t": ("/agent/{agent_id}/stop/{thread_id}", {"agent_id": "a", "thread_id": "t"}),
    "memories": ("/memories", {}),
    "memories/recall": ("/memories/recall", {}),
    "memories/subscribe": ("/memories/subscribe", {}),
    "memories/m": ("/memories/{memory_id}", {"memory_id": "m"}),
    # Only the last pieces count.
    "v2/deep/info": ("/info", {}),
    "tenant/agent/a/run": ("/agent/{agent_id}/run", {"agent_id": "a"}),
    "x/threads/t/messages": ("/threads/{thread_id}/messages", {"thread_id": "t"}),
    # Ids that look like something else.
    "agent/run/run": ("/agent/{agent_id}/run", {"agent_id": "run"}),
    "agent/agent/run": ("/agent/{agent_id}/run", {"agent_id": "agent"}),
    "agent/info/run": ("/agent/{agent_id}/run", {"agent_id": "info"}),
    "agent/a/stop/info": ("/info", {}),
    "agent/a/stop/threads": ("/agent/{agent_id}/stop/{thread_id}", {"agent_id": "a", "thread_id": "threads"}),
    "agent/a/stop/run": ("/agent/{agent_id}/stop/{thread_id}", {"agent_id": "a", "thread_id": "run"}),
    "agent/agent/stop/run": ("/agent/{agent_id}/run", {"agent_id": "stop"}),
    "agent/threads/stop/messages": (
        "/agent/{agent_id}/stop/{thread_id}",
        {"agent_id": "threads", "thread_id": "messages"},
    ),
    "threads/info": ("/info", {}),
    "threads/transcribe": ("/transcribe", {}),
    "threads/threads": ("/threads/{thread_id}", {"thread_id": "threads"}),
    "threads/memories": ("/threads/{thread_id}", {"thread_id": "memories"}),
    "threads/annotate": ("/threads/{thread_id}", {"thread_id": "annotate"}),
    "threads/threads/clear": ("/threads/clear", {}),
    "threads/clear/messages": ("/threads/{thread_id}/messages", {"thread_id": "clear"}),
    "threads/messages": ("/threads/{thread_id}", {"thread_id": "messages"}),
    "threads/recall": ("/threads/{thread_id}", {"thread_id": "recall"}),
    "memories/threads": ("/threads", {}),
    "memories/annotate": ("/memories/{memory_id}", {"memory_id": "annotate"}),
    "memories/info": ("/info", {}),
    "memories/memories": ("/memories/{memory_id}", {"memory_id": "memories"}),
    "agent/threads/run": ("/agent/{agent_id}/run", {"agent_id": "threads"}),
    # Decoded once.
    "agent/two%20words/run": ("/agent/{agent_id}/run", {"agent_id": "two words"}),
    "agent/a%2Fb/run": ("/agent/{agent_id}/run", {"agent_id": "a/b"}),
    "agent/a+b/run": ("/agent/{agent_id}/run", {"agent_id": "a+b"}),
    "agent/%2525/run": ("/agent/{agent_id}/run", {"agent_id": "%25"}),
    "threads/gr%C3%B6%C3%9Fe": ("/threads/{thread_id}", {"thread_id": "größe"}),
    "threads/%69nfo": ("/threads/{thread_id}", {"thread_id": "info"}),
    "threads/%00": ("/threads/{thread_id}", {"thread_id": "\0"}),
    # Nothing.
    "": None,
    "nothing": None,
    "Info": None,
    "INFO": None,
    "%69nfo": None,
    "agent": None,
    "agent/a": None,
    "agent/run": None,
    "agent/a/stop": None,
    "agent/a/stop/t/more": None,
    "agent/a/stop/%zz": None,
    "agent/%zz/run": None,
    "agent/%/run": None,
    "agent/%4/run": None,
    "agent/%FF/run": None,
    "threads/%C3": None,
    "info/more": None,
    "threads/t/nothing": None,
    "memories/m/more": None,
}


@pytest.mark.parametrize("path", MATCHES)
def test_route_matching(path: str) -> None:
    match = ROUTES.match([piece for piece in path.split("/") if piece])
    assert (None if match is None else (match.route.pattern, dict(match.params))) == MATCHES[path]


PIECES = (
    "info",
    "threads",
    "messages",
    "clear",
    "subscribe",
    "agent",
    "run",
    "stop",
    "memories",
    "recall",
    "annotate",
    "x",
    "%zz",
)


@pytest.mark.requirement("ROUTE-05")
@given(st.lists(st.sampled_from(PIECES), max_size=5))
def test_route_matching_takes_the_first_row(pieces: list[str]) -> None:
    """The table looks at few rows only; this looks at all."""
    expected = None
    for route in ROUTES.routes:
        tail = pieces[len(pieces) - len(route.segments) :]
        fits = len(pieces) >= len(route.segments) and all(
            (wanted.startswith("{") and piece != "%zz") or wanted == piece
            for wanted, piece in zip(route.segments, tail, strict=True)
        )
        if fits:
            expected = route
            break
    match = ROUTES.match(pieces)
    assert (None if match is None else match.route) is expected


@pytest.mark.requirement("ROUTE-03")
@given(st.text(min_size=1))
def test_route_ids_are_decoded_once(identity: str) -> None:
    try:
        encoded = quote(identity, safe="")
    except UnicodeEncodeError:
        return
    match = ROUTES.match(["agent", encoded, "run"])
    assert match is not None
    assert match.params == {"agent_id": identity}


@pytest.mark.requirement("ROUTE-04")
@given(st.text(alphabet="%0123456789abcdefABCDEFgG +é"))
def test_route_id_decoding_never_raises(piece: str) -> None:
    decode_segment(piece)


def test_route_match_as_hooks_see_it() -> None:
    match = ROUTES.match(["agent", "a", "stop", "t"])
    assert match is not None
    route = match.to_route_match("POST")
    assert (route.name, route.agent_id, route.thread_id, route.memory_id) == ("agent/stop", "a", "t", None)


@pytest.mark.requirement("ROUTE-07")
def test_route_allow_header() -> None:
    allows = {route.pattern: route.allow for route in ROUTES.routes}
    assert allows["/threads/{thread_id}"] == "PATCH, DELETE"
    assert allows["/memories"] == "GET, POST"
    assert allows["/info"] == "GET"


# Path, mount, base path, and the pieces below it; None outside.
BELOW: dict[str, tuple[str, str, str | None, list[str] | None]] = {
    "at the base": ("/api/copilotkit", "", "/api/copilotkit", []),
    "at the base, with a slash": ("/api/copilotkit/", "", "/api/copilotkit", []),
    "below the base": ("/api/copilotkit/info", "", "/api/copilotkit", ["info"]),
    "slashes": ("/api/copilotkit///threads//t/", "", "/api/copilotkit", ["threads", "t"]),
    "beside the base": ("/api/copilotkitx/info", "", "/api/copilotkit", None),
    "above the base": ("/api", "", "/api/copilotkit", None),
    "a base with a slash": ("/api/copilotkit/info", "", "/api/copilotkit/", ["info"]),
    "the root": ("/info", "", "/", ["info"]),
    "no base": ("/any/where/info", "", None, ["any", "where", "info"]),
    "no base, mounted": ("/mnt/info", "/mnt", None, ["info"]),
    "mounted, base below it": ("/app/api/copilotkit/info", "/app", "/api/copilotkit", ["info"]),
    "mounted, base is all of it": ("/api/copilotkit/info", "/api/copilotkit", "/api/copilotkit", ["info"]),
    "mounted at the base, base beyond": ("/api/info", "/api", "/api/copilotkit", None),
    "mounted elsewhere": ("/app/info", "/app", "/api", None),
    "a mount that is not in the path": ("/info", "/mnt", None, ["info"]),
}


@pytest.mark.requirement("ROUTE-01")
@pytest.mark.parametrize("name", BELOW)
def test_base_path_below(name: str) -> None:
    path, mount, base, pieces = BELOW[name]
    assert segments_below(path, mount, normalize_base_path(base)) == pieces


@pytest.mark.requirement("ROUTE-01")
@pytest.mark.parametrize("base", ["api", "", "copilotkit/", "https://a.example/api"])
def test_base_path_must_begin_with_a_slash(base: str) -> None:
    with pytest.raises(ValueError, match="/api/copilotkit"):
        normalize_base_path(base)


# Raw target, decoded path, decoded mount; path and mount as they are believed.
RAW: dict[str, tuple[bytes | str | None, bytes, bytes, tuple[str, str]]] = {
    "none": (None, b"/a b/c", b"", ("/a%20b/c", "")),
    "the same": (b"/a%2Fb/c", b"/a/b/c", b"", ("/a%2Fb/c", "")),
    "as text": ("/a%2Fb/c", b"/a/b/c", b"", ("/a%2Fb/c", "")),
    "with a query": (b"/a%2Fb?x=/y", b"/a/b", b"", ("/a%2Fb", "")),
    "absolute": (b"http://host:80/a%2Fb", b"/a/b", b"", ("/a%2Fb", "")),
    "rewritten in between": (b"/old%2Fone", b"/new/one", b"", ("/new/one", "")),
    "a mount that is not named": (b"/mnt/a%2Fb", b"/a/b", b"", ("/mnt/a%2Fb", "/mnt")),
    "a mount that is not named, with a slash added": (b"/mnt/a%2Fb", b"/a/b/", b"", ("/mnt/a%2Fb", "/mnt")),
    "a mount that is not named, itself": (b"/mnt", b"/", b"", ("/mnt", "/mnt")),
    "a mount that is not named, itself with a slash": (b"/mnt/", b"/", b"", ("/mnt/", "/mnt")),
    "only the inner mount is named": (b"/out/in/a%2Fb", b"/in/a/b", b"/in", ("/out/in/a%2Fb", "/out/in")),
    "only the outer mount is named": (b"/out/in/a%2Fb", b"/out/a/b", b"/out", ("/out/in/a%2Fb", "/out/in")),
    "a mount that a proxy has removed": (b"/a%2Fb", b"/mnt/a/b", b"/mnt", ("/mnt/a%2Fb", "/mnt")),
    "one that a proxy has removed, one not named": (b"/in/a", b"/out/a", b"/out", ("/out/in/a", "/out/in")),
    "a root path with a slash at the end": (b"/mnt/a%2Fb", b"/mnt/a/b", b"/mnt/", ("/mnt/a%2Fb", "/mnt")),
    "a mount with a slash in a piece": (b"/m%2Fnt/a", b"/nt/a", b"", ("/nt/a", "")),
    "a piece with a slash at the end": (b"/mnt/a%2F", b"/mnt/a/", b"/mnt", ("/mnt/a%2F", "/mnt")),
    "mounted": (b"/mnt/a%2Fb", b"/mnt/a/b", b"/mnt", ("/mnt/a%2Fb", "/mnt")),
    "mounted, encoded": (b"/m%20t/a%2Fb", b"/m t/a/b", b"/m t", ("/m%20t/a%2Fb", "/m%20t")),
    "a mount that ends within a piece": (b"/mn%2Ft/a", b"/mn/t/a", b"/mn", ("/mn/t/a", "/mn")),
    "raw bytes": (b"/gr\xc3\xb6\xc3\x9fe", "/größe".encode(), b"", ("/gr%C3%B6%C3%9Fe", "")),
    "not UTF-8": (b"/%FF", b"/\xff", b"", ("/%FF", "")),
    "a percent that is none": (b"/100%", b"/100%", b"", ("/100%", "")),
    "an asterisk": (b"*", b"*", b"", ("*", "")),
    "empty": (b"", b"", b"", ("", "")),
}


@pytest.mark.requirement("ROUTE-11")
@pytest.mark.parametrize("name", RAW)
def test_raw_target_of_the_server(name: str) -> None:
    raw, path, mount, expected = RAW[name]
    assert split_raw_target(raw, path, mount) == expected


@pytest.mark.requirement("ROUTE-11")
@given(st.lists(st.text(alphabet="ab%/ é\0", min_size=1), min_size=1, max_size=4), st.integers(0, 4), st.booleans())
def test_raw_target_that_fits_the_path_is_used(pieces: list[str], mounted: int, given_raw: bool) -> None:
    raw = "".join("/" + quote(piece, safe="") for piece in pieces)
    mount = "".join("/" + quote(piece, safe="") for piece in pieces[:mounted])
    path, prefix = split_raw_target(raw.encode() if given_raw else None, unquote_to_bytes(raw), unquote_to_bytes(mount))
    assert unquote_to_bytes(path) == unquote_to_bytes(raw)
    assert unquote_to_bytes(prefix) == unquote_to_bytes(mount)
    assert path.startswith(prefix)
    if given_raw:
        assert path == raw


@pytest.mark.requirement("ROUTE-11")
@given(
    st.none() | st.binary(max_size=20) | st.text(max_size=20).map(lambda text: text.encode().decode("latin-1")),
    st.binary(max_size=20),
    st.binary(max_size=5),
)
def test_raw_target_that_is_malformed_does_no_harm(raw: bytes | str | None, path: bytes, mount: bytes) -> None:
    believed, prefix = split_raw_target(raw, mount + path, mount)
    found, whole = unquote_to_bytes(believed).decode("utf-8", "replace"), (mount + path).decode("utf-8", "replace")
    if found != whole:
        assert raw is not None, "only a target can add to the path"
        assert found.rstrip("/").endswith(path.decode("utf-8", "replace").rstrip("/"))
    assert believed.startswith(prefix)
    assert believed.isascii()
    assert prefix.isascii()


@pytest.mark.requirement("COST-01")
def test_route_of_a_path_is_kept_unless_the_path_is_long() -> None:
    """Clients decide which paths they request, so what is kept of them is bounded."""
    router = Router(mode="auto", base_path="/api", expose_memory_routes=False)

    def read(path: str) -> tuple[str | None, int]:
        head = router.read_head(Request(method="POST", path=path))
        return None if head.route_match is None else head.route_match.agent_id, len(router._heads)

    assert read("/api/agent/a/run") == read("/api/agent/a/run") == ("a", 1)
    assert read(f"/api/agent/{'a' * 500}/run") == ("a" * 500, 1)
    target = b"/" + b"%41" * 200
    assert split_raw_target(target, b"/" + b"A" * 200, b"") == (target.decode(), "")
    assert all(len(kept) <= 500 for _, kept, _, _ in _split_targets if kept is not None)
    assert max(read(f"/api/agent/{number}/run")[1] for number in range(300)) == 256


@pytest.mark.requirement("ROUTE-01")
@given(
    st.sampled_from(["GET", "POST", "PATCH", "X"]),
    st.sampled_from(["", "/m"]),
    st.lists(st.sampled_from(PIECES), max_size=4),
    st.sampled_from(["auto", "multi-route", "single-route"]),
)
def test_route_that_is_kept_is_the_one_that_is_looked_up(method: str, root: str, pieces: list[str], mode: Any) -> None:
    router = Router(mode=mode, base_path=None, expose_memory_routes=False)
    request = Request(method=method, path=root + "/" + "/".join(pieces), root_path=root)
    looked_up = router._read_target((method, request.path, root))
    assert router.read_head(request) == router.read_head(request) == looked_up


def test_targets_as_bytes_and_as_text_in_one_process_are_not_compared() -> None:
    """As of ASGI and WSGI applications that are tested together, with Python's warnings about that as errors."""
    program = """
from copilot_runtime._http.target import split_raw_target

for raw in (b"/info", "/info", None, b"/info"):
    assert split_raw_target(raw, b"/info", b"") == ("/info", "")
"""
    done = subprocess.run(
        [sys.executable, "-bb", "-c", program], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 0, done.stderr
