"""The commands at the end of `callwise tune`: each of them runs as it is printed."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from callwise.cli.tune_next import next_lines
from callwise.cli.tune_options import TuneOptions
from callwise.recordings.recording import Recording, open_recording
from callwise.tuning.analysis import analyse
from callwise.tuning.analysis_forms import verdict_table
from callwise.tuning.notebook import row_of_trial
from callwise.tuning.row import TurnRow
from callwise.tuning.setting import Setting
from callwise.tuning.statistics.bootstrap import MIN_CONVERSATIONS


def _talks(count: int) -> Path:
    path = Path("my talks.jsonl")
    lines = ({"conversation_id": f"c{n}", "turn": 0, "user_text": f"Hi {n}"} for n in range(count))
    path.write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    return path


@pytest.fixture
def small(cli: Any) -> Recording:
    """Return a run of two conversations, with one knob that was set."""
    talks = _talks(2)
    shown = cli("replay", talks, "-p", "instant", "-s", "budget.turn.max_calls=2", "-o", "run")
    assert shown.exit_code == 0, shown.output
    few = f"2 conversations: a verdict of `callwise tune` needs {MIN_CONVERSATIONS}"
    assert few in shown.stderr.splitlines()
    return open_recording(Path("run"))


def _finished(folder: Path = Path()) -> Any:
    return SimpleNamespace(folder=folder, settings=[Setting("s", "recorded", {})])


def _analysis(**fields: Any) -> Any:
    usual = {"settings": {}, "recommendation": None, "conversations": 6, "by": "truth:simulated"}
    return SimpleNamespace(**{**usual, **fields})


def test_too_few_conversations_lead_to_more(cli: Any, small: Recording) -> None:
    """The file and the settings are those of the run; what is recorded is not bought again."""
    options = TuneOptions(recording=Path("run"))
    what, command = next_lines(options, small, _finished(), _analysis(conversations=2))
    assert what == "replay more than 2 conversations, since a verdict needs 5, and tune that:"
    words = shlex.split(command)
    assert words[:3] == ["callwise", "replay", "my talks.jsonl"]
    assert words[3:7] == ["--preset", "instant", "--set", "budget.turn.max_calls=2"]
    assert words[-4:] == ["--max-conversations", "8", "--out", "longer"]
    _talks(6)
    longer = cli(*words[1:])
    assert longer.exit_code == 0, longer.output
    assert "a verdict" not in longer.stderr
    assert len(Path("longer/turns.jsonl").read_text().splitlines()) == 6
    assert not Path("longer/cassette.jsonl").exists()


def test_a_file_that_is_gone_is_not_named(small: Recording) -> None:
    """Nor one whose name would be an option: a recording is not trusted."""
    options = TuneOptions(recording=Path("run"))
    Path("--app").write_text("")
    for name in ("gone.jsonl", "--app"):
        found = replace(small, files=(name,))
        _, command = next_lines(options, found, _finished(), _analysis(conversations=2))
        assert command.startswith("callwise replay FILE --preset instant")


def test_settings_of_no_shipped_preset_become_a_file(small: Recording) -> None:
    """Only the name of a preset file is recorded."""
    own = replace(small, given={**small.given, "preset": "mine"})
    options = TuneOptions(recording=Path("run"))
    _, command = next_lines(options, own, _finished(), _analysis(conversations=2))
    assert "--preset recorded.yaml --record" in command
    assert "max_calls: 2" in Path("recorded.yaml").read_text()


def test_what_was_agreed_to_is_repeated(small: Recording, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a referee's variable first, where none is set and the simulated one may not judge."""
    monkeypatch.setenv("CALLWISE_MODEL", "some-model")
    options = TuneOptions(
        recording=Path("run"), buy=True, yes=True, max_buy_calls=9, trust_endpoints=["h"]
    )
    found = next_lines(options, small, _finished(), _analysis(by=""))
    assert found[1] == "export CALLWISE_REFEREE_MODEL=MODEL"
    again = "callwise tune run --out . --buy --yes --max-buy-calls 9 --trust-endpoint h"
    assert found[2] == f"{again} --quality referee"
    monkeypatch.setenv("CALLWISE_REFEREE_MODEL", "other-model")
    monkeypatch.setenv("CALLWISE_REFEREE_BASE_URL", "http://127.0.0.1:9/v1")
    assert len(next_lines(options, small, _finished(), _analysis(by=""))) == 2
    real = replace(small, is_simulated=False)
    monkeypatch.delenv("CALLWISE_REFEREE_MODEL")
    monkeypatch.delenv("CALLWISE_REFEREE_BASE_URL")
    monkeypatch.delenv("CALLWISE_MODEL")
    assert next_lines(options, real, _finished(), _analysis(by=""))[1].startswith("export ")


def _noisy(spread: float) -> list[TurnRow]:
    """Return two settings of eight conversations whose qualities hardly differ."""
    by = {"rounds": 1, "quality_by": "truth:simulated"}
    signs = (1.0, -1.0, -1.0, 1.0, 1.0, -1.0, 1.0, -1.2)
    return [
        row_of_trial(name, str(number), calls=calls, quality=spread * sign * calls, **by)
        for name, calls in {"small": 1, "large": 2}.items()
        for number, sign in enumerate(signs)
    ]


def test_out_of_reach_is_the_least_margin_that_decides(small: Recording) -> None:
    """Not 100,000 more conversations; the margin that is named shows the setting."""
    rows = _noisy(0.8)
    found = analyse(rows)
    verdict = found.recommendation
    assert verdict is not None
    assert verdict.deciding_share is not None
    assert not verdict.is_shown
    assert not verdict.is_within_reach
    options = TuneOptions(recording=Path("run"), margin_share=0.02)
    what, command = next_lines(options, small, _finished(), replace(found, settings={}))
    assert what.startswith("accept a loss of ")
    assert command == f"callwise tune run --out . --margin-share {verdict.deciding_share:g}"
    settled = dict(map(tuple, verdict_table(verdict).rows))["to settle it"]
    assert f"(--margin-share {verdict.deciding_share:g}), or " in settled
    wider = analyse(rows, margin_share=verdict.deciding_share).recommendation
    assert wider is not None
    assert (wider.is_shown, wider.chosen, wider.deciding_share) == (True, verdict.chosen, None)
    narrower = analyse(rows, margin_share=0.97 * verdict.deciding_share).recommendation
    assert narrower is not None
    assert not narrower.is_shown


def test_within_reach_are_more_conversations(small: Recording) -> None:
    """As many as are named, added to the run's own file."""
    _talks(2)
    found = analyse(_noisy(0.08))
    what, command = next_lines(
        TuneOptions(recording=Path("run")), small, _finished(), replace(found, settings={})
    )
    assert what.endswith("more conversations to your file, and tune on the longer run:")
    assert shlex.split(command)[2] == "my talks.jsonl"


def test_what_was_meant_is_named(cli: Any, small: Recording) -> None:
    """A file in place of a run, a run's name mistyped, a knob in two words, the end of one."""
    assert small.folder == Path("run")
    file = cli("tune", "my talks.jsonl", "--knob", "search.max_calls=3")
    assert "record it first: callwise replay 'my talks.jsonl' --out run" in file.stderr
    assert "no such folder" not in file.stderr
    assert "did you mean run?" in cli("tune", "runs", "--knob", "search.max_calls=3").stderr
    assert "did you mean" not in cli("tune", "zzz/runs", "--knob", "search.max_calls=3").stderr
    words = cli("tune", "run", "--knob", "search.max_calls", "3,6")
    assert words.exit_code == 2
    assert "--knob search.max_calls=3,6" in words.stderr
    several = cli("tune", "run", "--knob", "max_calls=3").stderr
    assert "could mean several knobs: search.max_calls, budget." in several
