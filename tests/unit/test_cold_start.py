"""What a process has imported when its first requests are answered."""

from __future__ import annotations

import contextlib
import gc
import subprocess
import sys
from pathlib import Path

import pytest

from copilot_runtime._server.endpoints import run

ROOT = Path(__file__).parents[2]

UNUSED = (
    *("_sqlite3", "anyio", "email.mime", "h11", "http.cookiejar", "http.server", "httpcore", "httpcore2", "httpx"),
    *("httpx2", "jsonpatch", "jsonpointer", "jsonschema", "mcp", "openai", "opentelemetry", "sqlite3", "starlette"),
    "werkzeug",
    *("copilot_runtime.agents._builtin", "copilot_runtime.agents._http_agent", "copilot_runtime.agents._langgraph"),
    *("copilot_runtime.agents._pydantic_ai", "copilot_runtime.stores._sqlite", "copilot_runtime.testing"),
    *("copilot_runtime.transcription._openai", "copilot_runtime._server.endpoints.fail_fast_input"),
)
"""What neither ``/info`` nor a run of an agent that is a function needs, over a store in memory."""

OF_RUNS = ("ag_ui", "pydantic", "copilot_runtime._server.endpoints.run_input")
"""What takes longest to import, and ``/info`` does not need."""

IMPORTED = "print(*(name for name in {names!r} if name in sys.modules))"

APPLICATION = """
import sys
{imports}
from copilot_runtime import CopilotRuntime

async def agent(input):
    ids = {{"threadId": input.thread_id, "runId": input.run_id}}
    yield {{"type": "RUN_STARTED", **ids}}
    yield {{"type": "TEXT_MESSAGE_CHUNK", "messageId": "m1", "delta": "Hello"}}
    yield {{"type": "RUN_FINISHED", **ids}}

runtime = CopilotRuntime(agents={{"default": agent}}, single_user=True)
input = b'{{"threadId":"t1","runId":"r1","messages":[],"tools":[],"context":[],"state":{{}},"forwardedProps":{{}}}}'
"""

ASGI = '''
import asyncio
import threading

app = create_copilot_asgi_app(runtime=runtime)

async def request(method, path, body=b""):
    received, sent = [{"type": "http.request", "body": body}], []

    async def receive():
        return received.pop() if received else await asyncio.Event().wait()

    async def send(message):
        sent.append(message)

    headers = [(b"host", b"testserver"), (b"content-type", b"application/json")]
    scope = {"type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "method": method,
             "path": path, "raw_path": path.encode(), "query_string": b"", "headers": headers, "root_path": ""}
    await app(scope, receive, send)
    assert sent[0]["status"] == 200, sent
    return b"".join(message.get("body", b"") for message in sent)

async def main():
    assert b'"default"' in await request("GET", "/info")
    {after_info}
    assert b"RUN_FINISHED" in await request("POST", "/agent/default/run", input)

class ThreadRecorder:
    """Finds no module, and notes which threads import AG-UI's models."""
    threads = []

    def find_spec(self, name, path, target=None):
        if name == "ag_ui":
            self.threads.append(threading.current_thread())

sys.meta_path.insert(0, ThreadRecorder())
asyncio.run(main())
assert ThreadRecorder.threads and threading.main_thread() not in ThreadRecorder.threads, "the event loop was held up"
'''

WSGI = """
import io
from wsgiref.util import setup_testing_defaults

app = create_copilot_wsgi_app(runtime=runtime)

def request(method, path, body=b""):
    environ = {"REQUEST_METHOD": method, "PATH_INFO": path, "CONTENT_LENGTH": str(len(body)),
               "CONTENT_TYPE": "application/json", "wsgi.input": io.BytesIO(body), "wsgi.input_terminated": True}
    setup_testing_defaults(environ)
    statuses = []
    body = b"".join(app(environ, lambda status, headers: statuses.append(status)))
    assert statuses == ["200 OK"], (statuses, body)
    return body

assert b'"default"' in request("GET", "/info")
{after_info}
assert b"RUN_FINISHED" in request("POST", "/agent/default/run", input)
"""


@pytest.mark.parametrize(
    ("imports", "program"),
    [
        ("from copilot_runtime_asgi import create_copilot_asgi_app", ASGI),
        # As under gunicorn and waitress, which end the input of a request themselves.
        ("from copilot_runtime_wsgi import create_copilot_wsgi_app", WSGI),
    ],
    ids=["asgi", "wsgi"],
)
def test_cold_start_imports_nothing_unused(imports: str, program: str) -> None:
    """Neither up to the first ``/info``, nor up to the end of the first run."""
    after_info, at_the_end = IMPORTED.format(names=UNUSED + OF_RUNS), IMPORTED.format(names=UNUSED)
    source = APPLICATION.format(imports=imports) + program.replace("{after_info}", after_info) + at_the_end
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stdout.splitlines() == ["", ""]


@pytest.mark.parametrize("module", [".wire_names", ".missing"])
@pytest.mark.parametrize("is_enabled", [True, False])
def test_cold_start_leaves_the_garbage_collector_as_it_was(is_enabled: bool, module: str) -> None:
    (gc.enable if is_enabled else gc.disable)()
    try:
        with pytest.raises(ImportError) if module == ".missing" else contextlib.nullcontext():
            run._import_without_collecting(module)
        assert gc.isenabled() is is_enabled
    finally:
        gc.enable()


OLD_AT_ONCE = """
import gc
from copilot_runtime._server.endpoints import run

new = []
run._import_without_collecting(".wire_names")
assert any(one is new for one in gc.get_objects(2))
assert gc.get_freeze_count() == 0
"""


def test_cold_start_has_the_garbage_collector_look_at_no_model_soon() -> None:
    done = subprocess.run([sys.executable, "-c", OLD_AT_ONCE], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr


def test_cold_start_leaves_frozen_what_an_application_has_frozen() -> None:
    assert gc.get_freeze_count() > 0, "all that was collected of the tests"
    run._import_without_collecting(".wire_names")
    assert gc.get_freeze_count() > 0


def test_cold_start_of_the_servers_that_are_measured_imports_no_models() -> None:
    """Or the benchmark of the cold start would measure their fixtures."""
    source = f"import sys, tests.fixtures.configured_app\n{IMPORTED.format(names=OF_RUNS)}"
    done = subprocess.run(
        [sys.executable, "-c", source], cwd=ROOT, capture_output=True, text=True, timeout=60, check=False
    )
    assert (done.returncode, done.stdout.strip()) == (0, ""), done


BROKEN = """
class Broken:
    \"\"\"Finds what cannot be imported.\"\"\"

    def find_spec(self, name, path, target=None):
        if name == "ag_ui.core":
            raise ImportError("ag_ui is broken")

broken = Broken()
sys.meta_path.insert(0, broken)

async def main():
    runs = (request("POST", "/agent/default/run", input) for _ in range(3))
    for failure in await asyncio.gather(*runs, return_exceptions=True):
        assert "'status': 500" in str(failure), failure
    assert b'"default"' in await request("GET", "/info")
    sys.meta_path.remove(broken)
    assert b"RUN_FINISHED" in await request("POST", "/agent/default/run", input)
"""


def test_cold_start_with_models_that_cannot_be_imported_fails_the_runs_that_need_them() -> None:
    """At once, with the cause in the log, and only as long as it is so."""
    imports = "from copilot_runtime_asgi import create_copilot_asgi_app"
    program = ASGI.partition("async def main")[0] + BROKEN + "\nasyncio.run(main())"
    source = APPLICATION.format(imports=imports) + program
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("ImportError: ag_ui is broken") == 3


AT_THE_SAME_TIME = """
import threading

ready = threading.Barrier(4)

def first_run(thread_id):
    ready.wait(30)
    bodies.append(request("POST", "/agent/default/run", input.replace(b"t1", thread_id)))

bodies = []
threads = [threading.Thread(target=first_run, args=(b"t%d" % number,)) for number in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
assert len(bodies) == 4
"""


@pytest.mark.parametrize("patch", ["", "from gevent import monkey; monkey.patch_all()"], ids=["threads", "gevent"])
def test_cold_start_with_first_runs_at_the_same_time(patch: str) -> None:
    imports = f"{patch}\nfrom copilot_runtime_wsgi import create_copilot_wsgi_app"
    program = WSGI.partition("assert b")[0] + AT_THE_SAME_TIME
    source = APPLICATION.format(imports=imports) + program
    done = subprocess.run([sys.executable, "-c", source], capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
