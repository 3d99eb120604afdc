"""A fake at the evaluator seam: rows that follow from a setting alone, without a recording.

It is here, and not with the tests, because other processes and machines import it.
"""

import hashlib
import os
import signal
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from callwise.tuning.row import Coverage, TurnRow
from callwise.tuning.setting import Setting, SettingResult

__all__ = ["ScriptedEvaluator"]


@dataclass(frozen=True, slots=True)
class ScriptedEvaluator:
    """An evaluator whose rows are drawn from each setting's identity.

    More of `search.max_calls` (4 where it is not set) asks more and gains less and less. So
    there is a front, as in earnest.

    Args:
        conversations: how many; named `talk-0`, `talk-1`, and so on.
        turns: of each.
        failing: names of settings that cannot run.
        without_quality: names of settings of which no quality is known.
        raising: text of the error that the evaluator raises; empty raises none.
        killed_by: name of the setting that kills the process that evaluates it.
        killed_once: a file that is made before the kill, and that stays it the next time;
            None kills each time.
        log: a file to which the name of every evaluated setting is written, one per line.
    """

    conversations: int = 2
    turns: int = 3
    failing: frozenset[str] = frozenset()
    without_quality: frozenset[str] = frozenset()
    raising: str = ""
    killed_by: str = ""
    killed_once: Path | None = None
    log: Path | None = None

    def evaluate(self, settings: Sequence[Setting]) -> list[SettingResult]:
        """Return one result per setting, in the same order.

        Raises:
            RuntimeError: where `raising` says so.
        """
        if self.raising:
            raise RuntimeError(self.raising)
        return [self._result(setting) for setting in settings]

    def _result(self, setting: Setting) -> SettingResult:
        self._kill(setting.name)
        if self.log is not None:
            with self.log.open("a", encoding="utf-8") as file:
                file.write(f"{setting.name}\n")
        if setting.name in self.failing:
            return SettingResult(setting.name, (), error="scripted: it cannot run")
        replies: dict[str, str] = {}
        rows = []
        for number in range(self.conversations * self.turns):
            row = self._row(setting, *divmod(number, self.turns))
            replies[row.reply_id] = f"reply {row.reply_id}"
            rows.append(row)
        return SettingResult(setting.name, tuple(rows), replies=replies)

    def _kill(self, name: str) -> None:
        if name != self.killed_by or (self.killed_once is not None and self.killed_once.exists()):
            return
        if self.killed_once is not None:
            self.killed_once.touch()
        os.kill(os.getpid(), signal.SIGKILL)

    def _row(self, setting: Setting, conversation: int, turn: int) -> TurnRow:
        text = "\n".join((setting.preset, *sorted(setting.overrides), f"{conversation}/{turn}"))
        digest = hashlib.sha256(text.encode()).hexdigest()
        lot = int(digest[:8], 16) / 2**32
        calls = _max_calls(setting)
        is_exact = lot < 0.7
        return TurnRow(
            setting=setting.name,
            conversation=f"talk-{conversation}",
            turn=turn,
            seed=0,
            coverage=Coverage.EXACT if is_exact else Coverage.BOUNDED,
            diverged_at=None if is_exact else 2,
            missing_calls=0 if is_exact else 3,
            missing_tokens=0 if is_exact else 900,
            missing_usd=0.0 if is_exact else None,
            asked=calls + 2,
            requests=calls + 2,
            input_tokens=1000 * calls,
            output_tokens=100 * calls,
            usd=None,
            rounds_reply=calls,
            rounds_turn=calls + 1,
            seconds_reply=0.1 * calls,
            seconds_turn=0.1 * (calls + 1),
            is_reply_exact=is_exact,
            reply_id=digest[:16],
            is_simulated=True,
            asked_by_role={"main": calls, "fast": 2},
            asked_by_purpose={"expand": calls, "evolve": 2},
            asked_by_node={"lats_search": calls, "evolver": 2},
            requests_by_role={"main": calls, "fast": 2},
            requests_by_purpose={"expand": calls, "evolve": 2},
            quality=None if setting.name in self.without_quality else 1.0 - 1.0 / calls + 0.1 * lot,
            quality_spread=0.0 if is_exact else 0.05,
            quality_by="" if setting.name in self.without_quality else "truth:simulated",
        )


def _max_calls(setting: Setting) -> int:
    value = setting.knobs.get("search.max_calls", 4)
    return max(value, 1) if isinstance(value, int) else 4
