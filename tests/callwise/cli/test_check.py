"""`callwise check`: from a replay to a baseline to a verdict."""

import json
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from callwise.cli.main import callwise

PRESET = ("--preset", "frugal")


@pytest.fixture(scope="module")
def recorded(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return a folder with a talk, its recording, its run, and the run's baseline."""
    folder = tmp_path_factory.mktemp("recorded")
    texts = ("I lost my job.", "Nobody knows yet.", "What would you do?")
    lines = (
        {"conversation_id": "talk", "turn": turn, "user_text": text}
        for turn, text in enumerate(texts)
    )
    talk, run = folder / "talk.jsonl", folder / "run"
    talk.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    for command in (
        ("replay", talk, *PRESET, "--record", folder / "c.jsonl", "--out", run),
        ("check", run, "-b", folder / "b.json", "--update"),
    ):
        arguments = [str(each) for each in command]
        result = CliRunner(env={"COLUMNS": "400"}).invoke(callwise, arguments)
        assert result.exit_code == 0, result.output
    assert result.stdout.startswith("made: ")
    assert result.stdout.endswith("b.json, 5.0 calls per turn over 3 turns (simulated)\n")
    return folder


@pytest.fixture
def checked(cli: Any, recorded: Path, tmp_path: Path) -> Callable[..., Any]:
    """Return a function that checks a run against `b.json`, next to the run that it is of."""
    shutil.copytree(recorded, tmp_path, dirs_exist_ok=True)

    def check(run: object = "run", *arguments: object) -> Any:
        return cli("check", run, "--baseline", "b.json", *arguments)

    return check


def _edited(name: str, change: Callable[[list[dict[str, Any]]], None]) -> Path:
    """Return a copy of the run whose ledger was changed."""
    folder = Path(shutil.copytree("run", name))
    path = folder / "ledger.jsonl"
    rows = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    change(rows)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    return folder


def _plant(turn: int, node: str) -> Callable[[list[dict[str, Any]]], None]:
    def plant(rows: list[dict[str, Any]]) -> None:
        rows.append(next(r for r in rows if r["node"] == node and r["turn"] == str(turn)))

    return plant


def test_a_run_as_its_baseline_is_one_line(checked: Any) -> None:
    """Exit 0, one verdict line on standard output, nothing else."""
    result = checked()
    assert result.exit_code == 0
    assert result.stdout == "ok: 5.0 calls per turn over 3 turns (simulated), as in b.json\n"


def test_a_replay_is_as_its_recording(cli: Any, checked: Any) -> None:
    """The recording replayed, at another concurrency, has the recorded run's calls."""
    replayed = cli(
        "replay", "talk.jsonl", *PRESET, "--cassette", "c.jsonl", "--out", "again", "-c", 3
    )
    assert replayed.exit_code == 0
    assert checked("again", "-g", "requests", "-g", "rounds", "-g", "tokens").exit_code == 0


def test_one_planted_call_is_named_wherever_it_is(checked: Any) -> None:
    """One call too many, in each node of each turn: exit 1, and the line names it."""
    lines = Path("run/ledger.jsonl").read_text(encoding="utf-8").splitlines()
    places = {(int(row["turn"]), row["node"]) for row in map(json.loads, lines)}
    assert len(places) > 6
    for turn, node in sorted(places):
        result = checked(_edited(f"{node}{turn}", _plant(turn, node)))
        assert result.exit_code == 1
        verdict, finding, cause = result.stdout.splitlines()
        assert verdict.startswith(
            "failed: 5.0 -> 5.3 calls per turn over 3 turns (simulated), 1 fig"
        )
        assert re.fullmatch(rf"  {node} \w+ \d -> \d \(\+\d+ %\), turn {turn} of talk", finding)
        assert cause == "  no knob and no prompt changed: the code or the model's answers did"


def test_a_judge_that_died_is_a_finding(checked: Any) -> None:
    """With as many calls as before: the turns say what they went on without, and so it is shown."""

    def kill_judge(rows: list[dict[str, Any]]) -> None:
        for row in rows:
            if row["role"] == "judge":
                row["error"], row["is_unreadable"] = "InvalidAnswer: no object", True

    folder = _edited("dead", kill_judge)
    path = folder / "turns.jsonl"
    turns = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    down = {"node": "lats_search", "reason": "down", "role": "judge", "endpoint": "localhost-8001"}
    turns[1]["degraded"] = turns[2]["degraded"] = [down]
    path.write_text("".join(json.dumps(turn) + "\n" for turn in turns), encoding="utf-8")
    result = checked(folder)
    assert result.exit_code == 1
    verdict, *lines = result.stdout.splitlines()
    assert verdict.startswith(
        "failed: 5.0 -> 5.0 calls per turn over 3 turns (simulated), 5 figures"
    )
    assert "  degradations 0 -> 1 (new), turn 1 of talk and 1 more turn" in lines
    assert any(line.startswith("  unreadable answers 0 -> ") for line in lines)
    assert "2 of 3 turns degraded: judge at localhost-8001 is down (2)" in result.stderr
    assert checked(folder, "--update").exit_code == 0
    assert checked(folder).exit_code == 0


def test_a_raised_knob_is_the_cause(cli: Any, checked: Any) -> None:
    """More calls because of a knob: the line says which, from what to what."""
    knob = ("--set", "processor.llm=always")
    assert cli("replay", "talk.jsonl", *PRESET, *knob, "--out", "more").exit_code == 0
    result = checked("more")
    assert result.exit_code == 1
    assert 'since knob processor.llm "' in result.stdout
    assert '-> "always"' in result.stdout


def test_a_saving_passes_and_can_be_kept(cli: Any, checked: Any) -> None:
    """Exit 0, one line; the details go to standard error; --update keeps it."""
    document = json.loads(Path("b.json").read_text())
    path = next(iter(document["turns"][1]["asked"]))
    document["turns"][1]["asked"][path] += 1
    Path("b.json").write_text(json.dumps(document))
    result = checked()
    assert result.exit_code == 0
    assert result.stdout.count("\n") == 1
    assert "1 figure fell or got better: --update keeps it" in result.stdout
    assert "(better: --update keeps it)" in result.stderr
    updated = cli("check", "run", "-b", "b.json", "--update")
    assert updated.stdout.splitlines()[0].startswith("updated: b.json, 5.0 calls per turn")
    assert " 2 -> 1 (-50 %) in 1 turn" in updated.stdout
    assert "fell" not in checked().stdout


def test_json_is_one_object(checked: Any) -> None:
    """Verdict, figures, findings and causes, whether it passed or not."""
    passed = json.loads(checked("run", "--json").stdout)
    assert (passed["passed"], passed["failures"], passed["simulated"]) == (True, [], True)
    result = checked(_edited("planted", _plant(2, "lats_search")), "--json")
    assert result.exit_code == 1
    assert result.stdout.count("\n") == 1
    document = json.loads(result.stdout)
    (failure,) = document["failures"]
    assert (failure["node"], failure["conversation"], failure["turn"]) == ("lats_search", "talk", 2)
    assert failure["now"] - failure["before"] == 1
    assert document["causes"] == {
        "knobs": [],
        "prompts": [],
        "moved": [],
        "are_prompts_known": True,
    }
    update = json.loads(checked("run", "--update", "--json").stdout)
    assert (update["changed"], update["changes"]) == (False, [])


def test_markdown_is_written_when_it_fails_too(checked: Any) -> None:
    """The comment is there whatever the verdict, in a folder that need not exist."""
    assert checked("run", "--markdown", "out/ok.md").exit_code == 0
    assert checked(_edited("more", _plant(0, "lats_search")), "--markdown", "bad.md").exit_code == 1
    assert "Calls per turn: ok" in Path("out/ok.md").read_text(encoding="utf-8")
    assert "turn 0 of `talk`" in Path("bad.md").read_text(encoding="utf-8")


def test_a_quarantined_call_passes_until_its_day_is_over(checked: Any) -> None:
    """A known flaky case is shown; one whose day is over fails with its owner."""
    more = _edited("more", _plant(1, "lats_search"))
    entry = "- turn: 1\n  node: lats_search\n  reason: ties\n  owner: sam\n  until: {}\n"
    Path("q.yaml").write_text(entry.format("9999-12-31"))
    result = checked(more, "--quarantine", "q.yaml")
    assert result.exit_code == 0
    assert "1 figure worse, in quarantine" in result.stdout
    assert "in quarantine until 9999-12-31, sam" in result.stderr
    Path("q.yaml").write_text(entry.format("2020-12-31"))
    late = checked("run", "--quarantine", "q.yaml")
    assert late.exit_code == 1
    assert "ended on 2020-12-31: sam was to fix it" in late.stdout


def _cut(name: str) -> str:
    folder = Path(shutil.copytree("run", name))
    path = folder / f"{name}.jsonl"
    path.write_bytes(path.read_bytes()[:-9])
    return name


def _unusable(result: Any, *words: str) -> None:
    assert result.exit_code == 2, result.output
    assert result.stdout == ""
    assert "Traceback" not in result.output
    for word in words:
        assert word in result.stderr


def test_a_cut_run_is_unusable_and_cannot_become_a_baseline(checked: Any) -> None:
    """A torn turn is a missing turn, a torn ledger is a lost call: neither is a saving."""
    before = Path("b.json").read_bytes()
    _unusable(checked(_cut("turns")), "lacks", "turn 2 of 'talk'", "callwise replay")
    _unusable(checked(_cut("ledger")), "lost calls", "turn 2 of 'talk'")
    _unusable(checked("turns", "--update"), "killed")
    _unusable(checked("ledger", "--update"), "lost calls")
    assert Path("b.json").read_bytes() == before


def test_a_run_of_something_else_is_unusable(cli: Any, checked: Any) -> None:
    """Another preset, and other conversations, each with the way out."""
    other = cli("replay", "talk.jsonl", "--preset", "instant", "--out", "other")
    part = cli("replay", "talk.jsonl", *PRESET, "--out", "part", "--max-turns", 2)
    line = {"conversation_id": "talk", "turn": 0, "user_text": "Something else."}
    Path("else.jsonl").write_text(json.dumps(line) + "\n")
    third = cli("replay", "else.jsonl", *PRESET, "--out", "third")
    assert (other.exit_code, part.exit_code, third.exit_code) == (0, 0, 0)
    _unusable(checked("other"), "'frugal'", "'instant'", "--update")
    _unusable(checked("part"), "lacks", "turn 2")
    _unusable(checked("third"), "other conversations", "--update")
    manifest = json.loads(Path("part/manifest.json").read_text())
    manifest["identity"]["app"] = "tool.agent:app"
    Path("part/manifest.json").write_text(json.dumps(manifest))
    _unusable(checked("part"), "'tool.agent:app'", "'graph.app:app'")


def test_files_that_cannot_be_used(cli: Any, checked: Any, tmp_path: Path) -> None:
    """No run, no baseline, a baseline of another version, nonsense in it: exit 2, one line."""
    good = Path("b.json").read_text()
    (tmp_path / "empty").mkdir()
    _unusable(checked("nowhere"), "nowhere")
    _unusable(checked("empty"), "manifest.json")
    _unusable(cli("check", "run", "-b", "none.json"), "none.json", "--update")
    for text, said in (
        (good[:200], "cut off"),
        (good.replace('"callwise_baseline":1', '"callwise_baseline":7'), "format 7"),
        (good.replace('"requests":5', '"requests":"many"', 1), "requests"),
        ('{"precious": 1}', "is no baseline"),
    ):
        Path("b.json").write_text(text)
        _unusable(checked(), "b.json", said)
    _unusable(checked("run", "--update"), "no baseline")
    assert Path("b.json").read_text() == '{"precious": 1}'


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("--gate", "latency"), "replayed call answers immediately"),
        (("--gate", "speed"), "there are: calls"),
        (("--gate", "usd"), "does not record the USD"),
        (("--gate", "quality=0.1"), "does not record the quality"),
        (("--alpha", "0.05"), "--live"),
        (("--live", "--gate", "tokens"), "leave out --gate"),
        (("--live",), "run at least 7"),
        (("--live", "--alpha", "2"), "alpha"),
        (("--update", "--markdown", "x.md"), "leave out --markdown"),
        (("--quarantine", "none.yaml"), "none.yaml"),
        (("--scores", "none.csv"), "none.csv"),
    ],
)
def test_options_that_cannot_work(checked: Any, arguments: tuple[str, ...], said: str) -> None:
    """Exit 2 and what would work."""
    _unusable(checked("run", *arguments), said)


def _made_live(name: str, rows: list[dict[str, Any]]) -> None:
    """Write a run's ledger as if a real endpoint had answered."""
    folder = Path(name)
    live = [{**row, "is_simulated": False, "outcome": "served"} for row in rows]
    text = "".join(json.dumps(row) + "\n" for row in live)
    (folder / "ledger.jsonl").write_text(text, encoding="utf-8")
    manifest = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
    manifest["simulated"] = False
    (folder / "manifest.json").write_text(json.dumps(manifest), encoding="utf-8")


def test_a_live_run_needs_the_live_gate(cli: Any) -> None:
    """An exact check is refused with the way out; --live gives p, rate and verdict."""
    lines = [
        {"conversation_id": f"talk{place}", "turn": 0, "user_text": f"Hello, number {place}."}
        for place in range(7)
    ]
    Path("many.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert cli("replay", "many.jsonl", "--preset", "instant", "--out", "live").exit_code == 0
    rows = [json.loads(line) for line in Path("live/ledger.jsonl").read_text().splitlines()]
    _made_live("live", rows)
    assert "(simulated)" not in cli("check", "live", "-b", "l.json", "--update").stdout
    _unusable(cli("check", "live", "-b", "l.json"), "--live", "--cassette")
    result = cli("check", "live", "-b", "l.json", "--live")
    assert result.exit_code == 0
    assert result.stdout == (
        "ok: 2.00 -> 2.00 calls per turn over 7 turns of 7 conversations, within noise "
        "(p = 1, false-alarm rate 1 %), against l.json\n"
    )
    shutil.copytree("live", "more")
    _made_live("more", rows + rows)
    risen = cli("check", "more", "-b", "l.json", "--live", "--json", "--markdown", "live.md")
    assert risen.exit_code == 1
    assert json.loads(risen.stdout)["p_value"] == pytest.approx(2**-7)
    assert "| p, one-sided | 0.00781 |" in Path("live.md").read_text(encoding="utf-8")


def test_a_real_baseline_is_not_replaced_by_a_simulated_one(checked: Any) -> None:
    """It fails and names the way out; the file stays."""
    baseline = Path("b.json")
    real = baseline.read_text("utf-8").replace('"is_simulated":true', '"is_simulated":false')
    baseline.write_text(real, encoding="utf-8")
    refused = checked("run", "--update")
    assert refused.exit_code == 2
    assert "delete the baseline" in " ".join(refused.stderr.split())
    assert baseline.read_text("utf-8") == real


def test_a_server_that_simulates_is_labelled(cli: Any, checked: Any, serving: Any) -> None:
    """Answers of a simulated server are simulated, whatever the manifest knows of it."""
    server = serving()
    assert cli("replay", "talk.jsonl", *PRESET, "--out", "served").exit_code == 0
    assert server.log
    made = cli("check", "served", "-b", "served.json", "--update")
    assert made.stdout.endswith("(simulated)\n")
    assert cli("check", "served", "-b", "served.json").exit_code == 0
