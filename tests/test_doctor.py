"""``copilot-runtime doctor`` against mounts that are sound, and against mounts that are broken in one way each."""

from __future__ import annotations

import io
import json
import os
import re
import shutil
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from copilot_runtime._cli.main import main

from .broken_proxy import BrokenProxy, run_broken_proxy
from .fixtures.configs import MOUNT
from .fixtures.doctor_app import OPTIONS
from .http_client import TIMEOUT_SECONDS, Client
from .nginx import run_nginx, server_block
from .servers import RunningServer, free_port, serve_app
from .workers import eventually

pytestmark = pytest.mark.requirement("CLI-03")

FACTORY = "tests.fixtures.doctor_app:application"
ROOT = Path(__file__).parent.parent
PAGE = "https://page.example"

Report = dict[str, Any]
Doctor = Callable[..., Report]


def serve(adapter: str, *, server: str | None = None, mounts: Mapping[str, Any], **options: Any) -> Any:
    """Serves the doctor's fixture; ``mounts`` are its options by path, and ``options`` are those of `serve_app`."""
    return serve_app(adapter, FACTORY, server=server, env={OPTIONS: json.dumps(mounts)}, **options)


@pytest.fixture(scope="module")
def asgi() -> Iterator[RunningServer]:
    mounts = {
        MOUNT: {"cors": [PAGE]},
        "/multi": {"handler": {"mode": "multi-route"}},
        "/single": {
            "handler": {"mode": "single-route"},
            "runtime": {"healthz": True},
            "cors": [PAGE],
            "credentials": True,
        },
        "/late": {"runtime": {"sse_keep_alive_seconds": 15}},
        "/slow-begin": {"begin_seconds": 1.5},
        "/few": {"runtime": {"max_streams": 3}},
        "/quoted": {"cors": [PAGE], "agent": "sales/ü ?"},
        "/only": {"cors": [PAGE], "credentials": True},
    }
    with serve("asgi", mounts=mounts) as server:
        yield server


@pytest.fixture(scope="module")
def few_threads() -> Iterator[RunningServer]:
    """Flask on waitress, with as many worker threads as it has by default."""
    with serve("flask", server="waitress", threads=4, mounts={MOUNT: {}}) as server:
        yield server


@pytest.fixture(scope="module")
def proxy(asgi: RunningServer) -> Iterator[BrokenProxy]:
    with run_broken_proxy(asgi.port) as running:
        yield running


@pytest.fixture
def doctor(capsys: pytest.CaptureFixture[str]) -> Doctor:
    """Runs the command, and returns its report with the exit code."""

    def run(url: str, *arguments: str) -> Report:
        code = main(["doctor", url, "--json", "--watch", "1", *arguments])
        report: Report = json.loads(capsys.readouterr().out)
        assert_documented(report)
        assert code == (0 if report["ok"] else 1)
        return report

    return run


MEASURED = {
    check: set(re.findall(r"`(\w+)`", members))
    for check, members in re.findall(
        r"^\| `(\S+)` \| (.*) \|$",
        (ROOT / "docs/doctor.md").read_text("utf-8").partition("| members of `measured` |")[2],
        re.MULTILINE,
    )
}
"""The figures that docs/doctor.md lists, by check."""


def assert_documented(report: Report) -> None:
    assert list(report) == ["doctor", "url", "software", "ok", "findings"]
    for each in report["findings"]:
        assert (
            {"check", "status", "summary"}
            <= set(each)
            <= {*("check", "status", "summary", "advice", "snippet", "measured")}
        )
        assert each["status"] in ("ok", "warning", "wrong", "skipped")
        assert set(each.get("measured", {})) <= MEASURED.get(each["check"], set())


def statuses(report: Report) -> dict[str, str]:
    """Returns the worst status of each check."""
    worst: dict[str, str] = {}
    order = ["ok", "skipped", "warning", "wrong"]
    for finding in report["findings"]:
        worst[finding["check"]] = max(finding["status"], worst.get(finding["check"], "ok"), key=order.index)
    return worst


def wrong(report: Report) -> list[str]:
    return [check for check, status in statuses(report).items() if status == "wrong"]


def finding(report: Report, check: str) -> Any:
    """Returns the worst finding of a check."""
    worst = statuses(report)[check]
    return next(each for each in report["findings"] if (each["check"], each["status"]) == (check, worst))


# --- sound mounts ---


SOUND = {
    **dict.fromkeys(("reachable", "transports", "agents", "frontends", "streams", "compression", "body", "cors"), "ok"),
    **dict.fromkeys(("host", "run", "buffering", "headers", "keep-alive", "workers", "processes", "stop"), "ok"),
    "health": "skipped",
}


def test_doctor_finds_nothing_wrong_with_a_sound_mount(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(f"http://127.0.0.1:{asgi.port}/only", "--agent", "silent", "--origin", PAGE)
    assert statuses(report) == SOUND
    # What it has left behind, it has deleted.
    assert "deleted" in finding(report, "run")["summary"]


def test_doctor_finds_nothing_wrong_with_django_and_worker_threads(doctor: Doctor) -> None:
    with serve("django-wsgi", mounts={MOUNT: {"cors": [PAGE], "credentials": True}}) as server:
        assert statuses(doctor(server.base_url, "--agent", "silent", "--origin", PAGE)) == SOUND


def test_doctor_runs_no_agent_unless_it_is_named(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(asgi.base_url)
    assert report["ok"]
    assert statuses(report)["run"] == "skipped"
    assert "--agent default" in finding(report, "run")["advice"]


def test_doctor_prints_text(asgi: RunningServer, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", asgi.base_url, "--origin", "https://other.example"]) == 1
    printed = capsys.readouterr().out
    assert printed.startswith(f"Looking at {asgi.base_url} as a page of https://other.example would.\n")
    assert 'CorsConfig(allow_origins=["https://other.example"]' in printed
    assert printed.endswith("1 thing is wrong.\n")


def test_doctor_says_what_a_short_run_did_not_show(doctor: Doctor, asgi: RunningServer) -> None:
    found = statuses(doctor(asgi.base_url, "--agent", "quick"))
    assert {found[check] for check in ("buffering", "workers", "stop")} == {"skipped"}
    assert "keep-alive" not in found


def test_doctor_an_agent_that_fails_at_once_is_no_sign_of_several_processes(
    doctor: Doctor, asgi: RunningServer
) -> None:
    report = doctor(asgi.base_url, "--agent", "failing")
    assert report["ok"]
    assert statuses(report)["run"] == "warning"
    assert statuses(report)["processes"] == "skipped"


def test_doctor_an_agent_that_yields_a_whole_answer_may_be_held_back_or_not(
    doctor: Doctor, asgi: RunningServer
) -> None:
    report = doctor(f"http://127.0.0.1:{asgi.port}/late", "--agent", "whole", "--watch", "4")
    assert report["ok"]
    assert statuses(report)["buffering"] == "warning"
    assert "or the agent yields nothing before it has finished" in finding(report, "buffering")["summary"]


def test_doctor_stops_an_agent_that_has_been_silent_as_soon_as_it_speaks(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(f"http://127.0.0.1:{asgi.port}/late", "--agent", "thinking", "--watch", "4")
    assert report["ok"]
    assert statuses(report)["stop"] == "ok"


# --- what is at the URL ---


def test_doctor_unreachable(doctor: Doctor) -> None:
    report = doctor(f"http://127.0.0.1:{free_port()}/api/copilotkit")
    assert wrong(report) == ["reachable"]
    assert "no connection" in finding(report, "reachable")["summary"]


def test_doctor_names_the_path_of_the_runtime(doctor: Doctor, asgi: RunningServer) -> None:
    for url in (f"http://127.0.0.1:{asgi.port}", f"http://127.0.0.1:{asgi.port}/copilot", f"{asgi.base_url}/info"):
        report = doctor(url)
        assert wrong(report) == ["reachable"]
        assert finding(report, "reachable")["advice"] == f'Write runtimeUrl="{asgi.base_url}".'


@pytest.mark.parametrize(
    ("fault", "check", "advice"),
    [
        ("page", "reachable", "server.proxy"),
        ("no-http", "reachable", "write https://"),
        ("unreachable", "reachable", "does not reach the application"),
        ("failing", "reachable", "The log of the server"),
        ("csrf", "transports", "CSRF"),
        ("signed-in", "reachable", "--header"),
        ("redirect-all", "redirects", "Exclude the path"),
        ("redirect-agents", "redirects", "becomes a GET"),
        ("slash", "transports", "without a slash at its end"),
        ("rate-limit", "streams", "rate limit"),
        ("rate-limit-all", "reachable", "rate limit"),
        ("overloaded", "streams", "overloaded"),
    ],
)
def test_doctor_requests_that_do_not_reach_the_runtime(
    doctor: Doctor, proxy: BrokenProxy, fault: str, check: str, advice: str
) -> None:
    report = doctor(f"http://127.0.0.1:{proxy.port}/{fault}{MOUNT}")
    assert check in wrong(report)
    assert advice in finding(report, check)["advice"]


def test_doctor_transports(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(f"http://127.0.0.1:{asgi.port}/multi")
    assert statuses(report)["transports"] == "warning"
    assert "1.69 and newer" in finding(report, "frontends")["summary"]

    report = doctor(f"http://127.0.0.1:{asgi.port}/single", "--agent", "silent", "--origin", PAGE)
    assert wrong(report) == []
    assert statuses(report)["transports"] == "warning"
    assert {statuses(report)[check] for check in ("cors", "host", "buffering", "keep-alive", "stop")} == {"ok"}
    assert "1 process with the store memory" in finding(report, "processes")["summary"]


def test_doctor_agents(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(asgi.base_url, "--agent", "other")
    assert wrong(report) == ["agents"]
    assert "'other'" in finding(report, "agents")["summary"]
    assert "run" not in statuses(report)


def test_doctor_sends_headers_and_does_not_print_them(
    doctor: Doctor, asgi: RunningServer, capsys: pytest.CaptureFixture[str]
) -> None:
    report = doctor(asgi.base_url, "-H", "Authorization: Bearer secret-token", "--origin", PAGE)
    assert report["ok"]
    assert "secret-token" not in json.dumps(report)


@pytest.mark.parametrize(("fault", "path"), [("one-hop", "/sound"), ("two-hops", "/sound")])
def test_doctor_redirects_are_followed_to_the_runtime(
    doctor: Doctor, proxy: BrokenProxy, fault: str, path: str
) -> None:
    report = doctor(f"http://127.0.0.1:{proxy.port}/{fault}{MOUNT}", "-H", "Authorization: Bearer secret-token")
    assert wrong(report) == ["redirects"]
    assert f'runtimeUrl="http://127.0.0.1:{proxy.port}{path}{MOUNT}"' in finding(report, "redirects")["advice"]


def test_doctor_redirects_to_another_host_get_no_headers(doctor: Doctor, proxy: BrokenProxy) -> None:
    url = f"http://127.0.0.1:{proxy.port}/other-host{MOUNT}"
    assert statuses(doctor(url))["agents"] == "ok"
    report = doctor(url, "-H", "Authorization: Bearer secret-token")
    assert list(statuses(report)) == ["redirects"]
    assert "are not sent to another host" in finding(report, "redirects")["advice"]


# --- servers that mean no good ---


@pytest.mark.parametrize(
    "fault",
    [
        "loop",
        "no-url",
        "no-host",
        "controls",
        "surrogates",
        "wrong-types",
        "large",
        "echo",
        "no-json",
        "no-http",
        "no-gzip",
        "gzip-bomb",
        "nested-gzip-bomb",
        "endless-head",
    ],
)
def test_doctor_reports_whatever_a_server_sends(
    proxy: BrokenProxy, fault: str, capsys: pytest.CaptureFixture[str]
) -> None:
    arguments = ["--agent", "default", "--origin", PAGE, "--header", "Authorization: Bearer secret-token"]
    url = f"http://127.0.0.1:{proxy.port}/{fault}{MOUNT}"
    for as_json in ([], ["--json"]):
        assert main(["doctor", url, *arguments, *as_json]) == 1
        printed = capsys.readouterr().out
        assert "secret-token" not in printed
        assert "\x1b" not in printed
        assert len(printed) < 60_000
    assert not json.loads(printed)["ok"]


def test_doctor_an_agent_whose_name_needs_quoting(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(f"http://127.0.0.1:{asgi.port}/quoted", "--origin", PAGE)
    assert wrong(report) == []
    assert statuses(report)["host"] == "ok"


# --- CORS ---


def test_doctor_cors_without_any(doctor: Doctor, few_threads: RunningServer) -> None:
    report = doctor(few_threads.base_url, "--origin", PAGE)
    assert wrong(report) == ["cors"]
    assert "create_copilot_blueprint" in finding(report, "cors")["snippet"]


def test_doctor_cors_with_credentials(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(asgi.base_url, "--origin", PAGE)
    assert report["ok"]
    assert "Access-Control-Allow-Credentials" in finding(report, "cors")["summary"]
    # Users who are known by a cookie need them.
    report = doctor(asgi.base_url, "--origin", PAGE, "--header", "Cookie: session=1")
    assert wrong(report) == ["cors"]
    assert "allow_credentials=True" in finding(report, "cors")["snippet"]


def test_doctor_cors_of_the_own_origin_is_not_needed(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(asgi.base_url, "--origin", f"http://127.0.0.1:{asgi.port}")
    assert statuses(report)["cors"] == "ok"


@pytest.mark.parametrize(
    ("fault", "seen"),
    [
        ("refuse-preflight", "is answered with 401"),
        ("add-cors", "more than once"),
        ("reflect-origin", "pages of every site"),
    ],
)
def test_doctor_cors_that_a_proxy_breaks(doctor: Doctor, proxy: BrokenProxy, fault: str, seen: str) -> None:
    page = "https://other.example" if fault == "reflect-origin" else PAGE
    report = doctor(f"http://127.0.0.1:{proxy.port}/{fault}{MOUNT}", "--origin", page)
    assert wrong(report) == ["cors"]
    assert any(seen in each["summary"] for each in report["findings"] if each["check"] == "cors")


# --- streams ---


@pytest.mark.parametrize(
    ("fault", "arguments", "checks"),
    [
        ("hold-everything", ["--agent", "default"], {"buffering", "headers"}),
        ("hold-body", ["--agent", "default"], {"buffering"}),
        ("delay-head", ["--agent", "default", "--watch", "4"], {"headers"}),
        ("drop-comments", ["--agent", "silent"], {"keep-alive"}),
        ("cut-silence", ["--agent", "silent"], {"cut"}),
        ("lost-stop", ["--agent", "default"], {"stop"}),
        ("claim-brotli", [], {"compression"}),
    ],
)
def test_doctor_streams_that_a_proxy_breaks(
    doctor: Doctor,
    proxy: BrokenProxy,
    fault: str,
    arguments: list[str],
    checks: set[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("copilot_runtime._cli.doctor.checks.run._KEEP_ALIVE_SECONDS", 0.9)
    report = doctor(f"http://127.0.0.1:{proxy.port}/{fault}{MOUNT}", *arguments)
    assert set(wrong(report)) == checks


def test_doctor_keep_alives_that_were_not_waited_for_are_a_warning(doctor: Doctor, proxy: BrokenProxy) -> None:
    report = doctor(f"http://127.0.0.1:{proxy.port}/drop-comments{MOUNT}", "--agent", "silent")
    assert report["ok"]
    assert statuses(report)["keep-alive"] == "warning"
    assert "--watch 20" in finding(report, "keep-alive")["advice"]


def test_doctor_a_run_that_is_slow_to_begin_is_not_held_back(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(f"http://127.0.0.1:{asgi.port}/slow-begin", "--agent", "quick")
    assert wrong(report) == ["headers"]
    assert statuses(report)["buffering"] == "skipped"


@pytest.mark.parametrize("fault", ["crlf", "cr"])
def test_doctor_streams_with_other_line_ends(doctor: Doctor, proxy: BrokenProxy, fault: str) -> None:
    report = doctor(f"http://127.0.0.1:{proxy.port}/{fault}{MOUNT}", "--agent", "silent")
    assert wrong(report) == []
    assert {statuses(report)[check] for check in ("buffering", "keep-alive", "stop")} == {"ok"}


@pytest.mark.skipif(shutil.which("nginx") is None, reason="nginx is not installed")
def test_doctor_nginx(doctor: Doctor, asgi: RunningServer, tmp_path: Path) -> None:
    port, up = free_port(), f"proxy_pass http://127.0.0.1:{asgi.port}/; proxy_http_version 1.1;"
    sound = f"{up} client_max_body_size 32m; client_body_buffer_size 16m; proxy_set_header Host $http_host;"
    compressed = "gzip on; gzip_types text/event-stream; gzip_min_length 0; gzip_proxied any;"
    http = server_block(
        port,
        f"""
        location /sound/ {{ {sound} }}
        location /plain/ {{ {up} }}
        location /gzip/ {{ {sound} {compressed} }}
        location /buffering/ {{ {sound} {compressed} proxy_ignore_headers X-Accel-Buffering; }}
        location /redirect/ {{ return 301 /sound$request_uri; }}
        location / {{ proxy_pass http://127.0.0.1:{asgi.port}; }}
        """,
    )
    with run_nginx(http, port, tmp_path):
        url = f"http://127.0.0.1:{port}"
        assert doctor(f"{url}/sound{MOUNT}", "--agent", "silent")["ok"]

        # nginx's default for bodies is 1 MB, and it sends its own name of the server as Host.
        report = doctor(f"{url}/plain{MOUNT}")
        assert set(wrong(report)) == {"body", "host"}
        assert "client_max_body_size 32m" in finding(report, "body")["snippet"]
        assert "proxy_set_header Host $host" in finding(report, "host")["snippet"]

        # A page of the single-route transport sends JSON, which is not refused.
        report = doctor(f"{url}/plain/single")
        assert set(wrong(report)) == {"body"}
        assert statuses(report)["host"] == "warning"
        assert "proxy_set_header Host $host" in finding(report, "host")["snippet"]

        report = doctor(f"{url}/gzip{MOUNT}")
        assert wrong(report) == ["compression"]
        assert "gzip_types" in finding(report, "compression")["snippet"]

        report = doctor(f"{url}/buffering{MOUNT}", "--agent", "default")
        assert {"compression", "buffering"} <= set(wrong(report))
        assert "proxy_buffering off" in finding(report, "buffering")["snippet"]

        assert "redirects" in wrong(doctor(f"{url}/redirect{MOUNT}"))


# --- servers ---


def test_doctor_workers_of_one_request_at_a_time(doctor: Doctor) -> None:
    mounts = {MOUNT: {}, "/health": {"runtime": {"healthz": True}}}
    with serve("wsgi", server="sync", mounts=mounts) as server:
        # Where healthz is on, no run is needed.
        assert wrong(doctor(f"http://127.0.0.1:{server.port}/health")) == ["workers"]
        report = doctor(server.base_url, "--agent", "short", "--timeout", "2")
    assert "workers" in wrong(report)
    assert "gthread" in finding(report, "workers")["snippet"]


def test_doctor_processes_of_one_request_at_a_time(doctor: Doctor) -> None:
    with serve("wsgi", server="sync", workers=3, mounts={MOUNT: {}}) as server:
        report = doctor(server.base_url, "--agent", "short", "--timeout", "2")
    assert "processes" in wrong(report)
    assert "streams that joined the run ended at once" in finding(report, "processes")["summary"]


def test_doctor_workers_that_an_agent_blocks(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(asgi.base_url, "--agent", "blocking")
    assert statuses(report)["workers"] == "warning"
    assert "not async def" in finding(report, "workers")["snippet"]


def test_doctor_workers_counts_no_streams_that_are_refused(doctor: Doctor, asgi: RunningServer) -> None:
    report = doctor(f"http://127.0.0.1:{asgi.port}/few", "--agent", "silent")
    assert report["ok"]
    assert finding(report, "workers")["measured"]["streams"] == 3


def test_doctor_workers_with_too_few_threads(doctor: Doctor, few_threads: RunningServer) -> None:
    report = doctor(few_threads.base_url, "--agent", "silent", "--timeout", "2")
    assert wrong(report) == ["workers"]
    assert finding(report, "workers")["measured"] == {"streams": 5}
    assert "waitress-serve --threads=64" in finding(report, "workers")["snippet"]


def test_doctor_processes(doctor: Doctor, tmp_path: Path) -> None:
    shared = {"runtime": {"store": f"sqlite:///{tmp_path}/copilot.db"}}
    mounts = {MOUNT: {}, "/health": {"runtime": {"healthz": True}}, "/shared": shared}
    with serve("asgi", workers=2, mounts=mounts) as server:
        health = Client(server, base="/health")

        def processes() -> set[str]:
            return {health.request("GET", "/healthz").json()["process"]["id"] for _ in range(20)}

        eventually(lambda: len(processes()) == 2, TIMEOUT_SECONDS)
        report = doctor(server.base_url, "--agent", "default")
        assert "processes" in wrong(report)
        assert "sqlite:///" in finding(report, "processes")["snippet"]

        # Where healthz is on, no run is needed.
        report = doctor(f"http://127.0.0.1:{server.port}/health")
        assert finding(report, "processes")["measured"] == {"processes": 2}
        assert wrong(report) == ["processes"]

        assert doctor(f"http://127.0.0.1:{server.port}/shared", "--agent", "default")["ok"]


# --- the command ---


@pytest.mark.parametrize(
    ("variable", "value"), [("HTTP_PROXY", "gopher://127.0.0.1:1"), ("ALL_PROXY", "socks9://127.0.0.1:1")]
)
def test_doctor_refuses_a_proxy_that_it_cannot_use(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)
    assert main(["doctor", "http://a.example/"]) == 2
    assert "HTTP_PROXY" in capsys.readouterr().err


def test_doctor_ends_where_nobody_reads_its_report(monkeypatch: pytest.MonkeyPatch, asgi: RunningServer) -> None:
    reader, writer = os.pipe()
    os.close(reader)
    with os.fdopen(writer, "w") as printed:
        monkeypatch.setattr("sys.stdout", printed)
        assert main(["doctor", asgi.base_url]) == 1


def test_doctor_prints_to_a_terminal_that_lacks_characters(
    monkeypatch: pytest.MonkeyPatch, asgi: RunningServer
) -> None:
    printed = io.BytesIO()
    monkeypatch.setattr("sys.stdout", io.TextIOWrapper(printed, encoding="ascii"))
    assert main(["doctor", f"http://127.0.0.1:{asgi.port}/quoted"]) == 0
    assert rb"sales/\xfc ?" in printed.getvalue()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["example.com"], "is not a URL"),
        (["ftp://example.com/"], "is not a URL"),
        (["http://user:secret@example.com/"], "--header 'Authorization: ...'"),
        (["ftp://user:secret@example.com/?key=secret"], "is not a URL"),
        (["http://user:secret@example.com:99999/"], "is not a URL"),
        (["http://a.example/", "--origin", "a.example"], "is not an origin"),
        (["http://a.example/", "--origin", "https://a.example/page"], "is not an origin"),
        (["http://a.example/", "-H", "secret"], "a header is a name and a value"),
        (["http://a.example/", "-H", "Host: a"], "Host is set for each request"),
        (["http://a.example/", "-H", "Transfer-Encoding: chunked"], "is set for each request"),
        (["http://a.example/", "--timeout", "0"], "is not a number of seconds"),
    ],
)
def test_doctor_refuses_arguments(arguments: list[str], message: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as raised:
        main(["doctor", *arguments])
    assert raised.value.code == 2
    printed = capsys.readouterr().err
    assert message in " ".join(printed.split())
    assert "secret" not in printed
