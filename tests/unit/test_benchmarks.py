"""What the benchmarks do with their figures: bars, ratios, tables, plots. Nothing is measured here."""

from __future__ import annotations

import socket
import tomllib
from pathlib import Path
from xml.etree import ElementTree

import pytest

from benchmarks import bars, plots, results, servers, shared, tables
from benchmarks.__main__ import QUICK_ROUNDS, ROUNDS
from benchmarks.bars import BARS, CPU, DELAY, EXCESS, RATIO, Bar
from benchmarks.growth.measure import ALL, GROUPS
from benchmarks.growth.series import Growth, Point, Series
from benchmarks.node import SERVER as NODE
from benchmarks.outcomes import Outcome, Verdict, compare, outcome
from benchmarks.stores.round_trips import counting_proxy

FLOORS = {name for name in bars.FLOORS.values() if name not in servers.OURS}
HALF = Bar("ours-asgi", "W1", CPU, "floor", 0.5)


def rows(*figures: float, key: str = "cpu_us", **more: int) -> list[dict[str, float]]:
    return [{"turn": turn, key: figure, **more} for turn, figure in enumerate(figures)]


# --- the table of bars ---


def test_bars_name_servers_of_ours() -> None:
    assert {bar.server for bar in BARS} == set(servers.OURS) == set(bars.FLOORS)


def test_bars_compare_with_servers_that_exist() -> None:
    assert {bar.other for bar in BARS} <= {None, NODE, *FLOORS, *servers.OURS}


def test_floors_are_servers_of_the_shared_benchmark() -> None:
    table = shared.FOLDER / "servers.toml"
    if not table.is_file():
        pytest.skip("the shared benchmark is not here")
    assert {NODE, *FLOORS} <= set(tomllib.loads(table.read_text("utf-8")))


def test_bars_are_unique() -> None:
    keys = [(bar.server, bar.workload, bar.figure, bar.other) for bar in BARS]
    assert len(keys) == len(set(keys))


def test_bars_name_workloads_that_are_measured() -> None:
    assert set(ROUNDS) == set(QUICK_ROUNDS)
    assert set(ROUNDS) <= {bar.workload for bar in BARS} <= {*ROUNDS, *GROUPS}


def test_servers_are_written_as_toml(tmp_path: Path) -> None:
    written = tomllib.loads(servers.toml(tmp_path, tmp_path))
    assert set(written) == set(servers.OURS)
    assert all("{port}" in " ".join(server["cmd"]) for server in written.values())
    assert "sqlite://" in str(written["ours-asgi-sqlite"]["env"])
    assert "sqlite://" not in str(written["ours-asgi"]["env"])


# --- ratios ---


def test_ratios_are_taken_within_a_round() -> None:
    compared = compare(rows(10, 40, 90), rows(10, 20, 30), CPU, RATIO)
    assert compared is not None
    assert compared == (40, 2, 1, 3, 1)


def test_ratios_leave_out_rounds_that_one_server_lacks() -> None:
    compared = compare(rows(10, 40), rows(10, 20)[1:], CPU, RATIO)
    assert compared is not None
    assert (compared.median, compared.low, compared.high) == (2, 2, 2)


def test_ratios_need_figures_of_both() -> None:
    assert compare(rows(10), [], CPU, RATIO) is None
    assert compare([{"turn": 0, "cpu_us": None}], rows(10), CPU, RATIO) is None


def test_excess_is_a_difference_in_the_unit_of_the_figure() -> None:
    compared = compare(rows(3000, key="lat_p99"), rows(1000, key="lat_p99"), DELAY, EXCESS)
    assert compared is not None
    assert compared.own == pytest.approx(3)
    assert compared.median == pytest.approx(2)


# --- verdicts ---


@pytest.mark.parametrize(
    ("own", "floor", "verdict"),
    [
        (rows(4, 5, 6), rows(10, 10, 10), Verdict.MET),
        (rows(4, 6, 6), rows(10, 10, 10), Verdict.MET_BY_MINIMA),
        (rows(6, 6, 6), rows(10, 10, 10), Verdict.SHORT),
        (rows(1, errors=1), rows(10), Verdict.ERRORS),
        (rows(1, missing=1), rows(10), Verdict.ERRORS),
        (rows(1), [], Verdict.MISSING),
    ],
)
def test_verdict(own: shared.Rows, floor: shared.Rows, verdict: Verdict) -> None:
    assert outcome(HALF, {"W1": {"ours-asgi": own, "floor": floor}}).verdict is verdict


def test_verdict_of_a_workload_that_failed() -> None:
    assert outcome(HALF, {}).verdict is Verdict.MISSING


def test_summary_counts_what_is_met() -> None:
    came_out = [outcome(HALF, {"W1": {"ours-asgi": rows(figure), "floor": rows(10)}}) for figure in (4, 5, 6)]
    assert tables.bars_summary(came_out, 0) == "2 of 3 bars are met."
    assert "4 left out" in tables.bars_summary(came_out, 4)


# --- growth ---


def series(growth: Growth, *figures: float) -> Series:
    sizes = (10, 100, 1_000)
    points = (Point(size, (figure,)) for size, figure in zip(sizes, figures, strict=True))
    return Series("tools", "CPU us per run", growth, tuple(points))


@pytest.mark.parametrize(
    ("growth", "figures", "within"),
    [
        (Growth.CONSTANT, (5, 5, 6), [True, True, True]),
        (Growth.CONSTANT, (5, 5, 7), [True, True, False]),
        (Growth.LINEAR, (5, 40, 400), [True, True, True]),
        (Growth.LINEAR, (5, 70, 400), [True, False, True]),
    ],
)
def test_growth_is_compared_with_what_it_may_be(growth: Growth, figures: list[float], within: list[bool]) -> None:
    assert [step.is_within for step in series(growth, *figures).steps()] == within


def test_growth_factors_are_from_step_to_step() -> None:
    assert [step.factor for step in series(Growth.LINEAR, 5, 10, 40).steps()] == [None, 2, 4]


# --- stores ---


def test_round_trips_are_counted_by_answers() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, counting_proxy(server.getsockname()[1]) as proxy:
        with socket.create_connection(("127.0.0.1", proxy.port)) as client, server.accept()[0] as answering:
            answering.sendall(b"unasked")
            assert client.recv(100) == b"unasked"
            for _ in range(2):
                client.sendall(b"question")
                assert answering.recv(100) == b"question"
                answering.sendall(b"answer")
                assert client.recv(100) == b"answer"
        assert proxy.round_trips == 2


# --- tables, plots, RESULTS.md ---


def outcomes_of_all_kinds() -> list[Outcome]:
    return [
        outcome(HALF, {"W1": {"ours-asgi": rows(4, 6), "floor": rows(10, 10)}}),
        outcome(HALF, {}),
        *(outcome(bar, {bar.workload: {bar.server: rows(1, key=bar.figure.key)}}) for bar in BARS),
    ]


def test_tables_have_a_row_for_each_bar() -> None:
    came_out = outcomes_of_all_kinds()
    assert len(tables.bars(came_out).splitlines()) == 2 + len(came_out)


def test_tables_say_by_how_much_a_bar_is_missed() -> None:
    came_out = [outcome(HALF, {"W1": {"ours-asgi": rows(*own), "floor": rows(10, 10)}}) for own in ((4, 7), (6, 6))]
    by_minima, short = tables.bars(came_out).splitlines()[2:]
    assert by_minima.endswith("| 0.55x (0.4x to 0.7x) | 0.4x | <= 0.5x | **short by 10%, but met by the minima** |")
    assert short.endswith("| 0.6x | 0.6x | <= 0.5x | **short by 20%** |")


def test_plots_are_xml() -> None:
    for plot in (plots.bars(outcomes_of_all_kinds()), plots.growth([series(Growth.LINEAR, 5, 10, 40)] * 4)):
        assert ElementTree.fromstring(plot).tag.endswith("svg")


def test_results_are_kept_where_only_some_were_measured(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(results, "FILE", tmp_path / "RESULTS.md")
    measured = [Outcome(bar, None, Verdict.MISSING) for bar in BARS]
    grown = [Series(name, "us", Growth.CONSTANT, (Point(1, (1.0,)),)) for name in ALL]
    results.write_bars(measured, "all", "machine")
    results.write_growth(grown, "machine")
    written = results.FILE.read_text("utf-8")
    assert "all" in written
    assert ALL[-1] in written
    assert not capsys.readouterr().err
    results.write_bars(measured[1:], "some", "machine")
    results.write_growth(grown[1:], "machine")
    assert results.FILE.read_text("utf-8") == written
    assert "Bars not written, as 1 of" in capsys.readouterr().err


def test_results_replace_a_section_and_keep_the_other() -> None:
    text = results.replace("# Results\n\nText.\n", "Growth", "grown")
    text = results.replace(text, "Bars", "first")
    text = results.replace(text, "Bars", "second")
    assert text == "# Results\n\nText.\n\n## Bars\n\nsecond\n\n## Growth\n\ngrown\n"
