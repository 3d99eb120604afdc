"""A scripted proposer and judge, and a driver that keeps the promise of a round."""

import hashlib
import json
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import pytest

from lats.actions import Action, ActionKind, Generate, JudgeList, Refine
from lats.answers import ActionAnswer, Draft, Drafts, NoAnswer, Verdict, Verdicts
from lats.policy import RemainingCalls, SearchPolicy
from lats.rule_score import ReplyContext
from lats.search import PosteriorSearch

CONTEXT = ReplyContext(user_text="I got the job, and now I am scared of it.", language="en")


@dataclass
class ScriptedModel:
    """Answers proposals from a seed and the proposal's id alone, so order cannot matter."""

    seed: int = 0
    gates: str = "never"
    """Which judgements pass all gates: `never`, `always`, or `after_root`."""
    alike: bool = False
    """Whether all strategies have one tag."""
    unlike: bool = False
    """Whether tags are long enough that no two are alike by chance."""
    failing: frozenset[ActionKind] = frozenset()
    """Kinds that always fail."""
    refusing: frozenset[ActionKind] = frozenset()
    """Kinds that are always refused."""
    asked: list[Action] = field(default_factory=list)

    def answer(self, action: Action) -> ActionAnswer:
        """Return the answer to one action."""
        self.asked.append(action)
        if action.label in self.refusing:
            return NoAnswer(is_refused=True, detail="refused")
        if action.label in self.failing:
            return NoAnswer(detail="down")
        draw = random.Random(f"{self.seed}/{_drawn_as(action)}")
        if isinstance(action, JudgeList):
            return Verdicts({action.node_ids[0]: self._verdict(action, draw)})
        return self._drafts(action.k, draw)

    def _drafts(self, count: int, draw: random.Random) -> Drafts:
        words = ["proud", "nervous", "coffee", "monday", "laugh", "train", "honest", "quiet"]
        drafts = []
        for place in range(count):
            chosen = " ".join(draw.sample(words, draw.randint(1, 6)))
            mark = f"{draw.randrange(16**6):06x}{draw.choice(['.', '?', '? Why?'])}"
            tag = "same" if self.alike else f"way-{mark[:6]}"
            if self.unlike:
                tag = hashlib.sha256(tag.encode()).hexdigest()[:16]
            drafts.append(
                Draft(reply=f"{chosen} {mark}", strategy_tag=tag, payload={"place": place})
            )
        return Drafts(tuple(drafts))

    def _verdict(self, action: JudgeList, draw: random.Random) -> Verdict:
        if action.label is ActionKind.CHECK_ASSISTANT:
            return Verdict(attributes={"assistantness": 0.1}, reason="scripted")
        is_root = sum(earlier.label is ActionKind.JUDGE for earlier in self.asked) == 1
        passes = self.gates == "always" or (self.gates == "after_root" and not is_root)
        low, high = (0.85, 0.95) if passes else (0.3, 0.7)
        return Verdict(
            score=round(draw.uniform(low, high), 2),
            attributes={"plan_alignment": 0.9, "mode_fit": 0.9, "assistantness": 0.1},
            reason="scripted",
        )


def _drawn_as(action: Action) -> str:
    """Return what an answer is drawn from: what is asked of which node, and which attempt."""
    if isinstance(action, Generate):
        return action.label
    if isinstance(action, Refine):
        return f"{action.label}:{action.node_ids[0]}:{action.attempt}"
    return f"{action.label}:{action.node_ids[0]}"


def drive(
    search: SearchPolicy,
    model: ScriptedModel,
    *,
    shuffle: random.Random | None = None,
    repeat: bool = False,
    max_rounds: int | None = None,
    remaining: Callable[[], RemainingCalls] = RemainingCalls,
) -> list[list[Action]]:
    """Drive a search and return its rounds, told in order or shuffled, once or twice."""
    rounds: list[list[Action]] = []
    while max_rounds is None or len(rounds) < max_rounds:
        proposals = search.ask(remaining())
        if not proposals:
            break
        rounds.append(proposals)
        answers = [(each.action_id, model.answer(each)) for each in proposals]
        if shuffle is not None:
            shuffle.shuffle(answers)
        for action_id, answer in answers:
            search.tell(action_id, answer)
            if repeat:
                search.tell(action_id, NoAnswer(detail="a late second answer"))
    return rounds


@pytest.fixture
def context() -> ReplyContext:
    """The scripted turn, for the rules."""
    return CONTEXT


@pytest.fixture
def scripted() -> type[ScriptedModel]:
    """The scripted model."""
    return ScriptedModel


@pytest.fixture(name="drive")
def _drive() -> Callable[..., list[list[Action]]]:
    """The driver."""
    return drive


@dataclass
class ScriptedActions:
    """Answers actions from a seed and the action alone, so order and resuming cannot matter."""

    seed: int = 0
    proposer: str = "good"
    """`good`, `steps`, `repeats`, `none`, `blank`, `long`, `surrogates`, `odd` or `fails`."""
    judge: str = "good"
    """`good`, `perfect`, `ties`, `by_place`, `fewer`, `more`, `empty`, `ranks`, `same_words`,
    `lots` (by lot alone), `huge`, `negative`, `nan`, `infinite`, `bools`, `words`, `odd` or
    `fails`."""
    failing: float = 0.0
    """Share of actions that fail, by lot."""
    refusing: float = 0.0
    """Share of actions that are refused, by lot."""
    refused_kinds: frozenset[ActionKind] = frozenset()
    """Kinds that are always refused."""
    steps: int = 3
    """Depth at which a `steps` proposer gives answers."""
    attributes: tuple[str, ...] = ()
    """Names of sub-scores that verdicts carry."""
    drift: float = 0.0
    """Added to all scores of every call but the first."""
    scale: float = 1.0
    """Share of the scale that the scores use, from 0 on."""
    depths: dict[str, int] = field(default_factory=dict)
    """Depth of candidates, which a proposer of steps must know. Filled by the driver."""

    def _draw(self, *names: object) -> random.Random:
        return random.Random("/".join(map(str, (self.seed, *names))))

    def quality(self, node_id: str) -> float:
        """Return a candidate's true quality, in [.2, .8]."""
        return self._draw("quality", node_id).uniform(0.2, 0.8)

    def answer(self, action: Action) -> ActionAnswer:
        """Return the answer to one action."""
        lot = self._draw("lot", action.action_id).random()
        if action.label in self.refused_kinds or lot < self.refusing:
            return NoAnswer(is_refused=True, detail="no remaining")
        if lot < self.refusing + self.failing:
            return NoAnswer(detail="down")
        if isinstance(action, JudgeList):
            return NoAnswer(detail="down") if self.judge == "fails" else self._verdicts(action)
        return NoAnswer(detail="down") if self.proposer == "fails" else self._drafts(action)

    def _drafts(self, action: Generate | Refine) -> Drafts:
        draw = self._draw("drafts", action.action_id)
        marks = [f"{draw.randrange(16**8):08x}" for _ in range(action.k)]
        made = {
            "repeats": ["Always the same.", "always the SAME!"] * action.k,
            "none": [],
            "blank": [" ", "", "\n\t"],
            "long": [f"{mark} " + "long " * 10_000 for mark in marks],
            "surrogates": [f"{mark}\ud800\udfff" for mark in marks],
            "odd": draw.sample(["", "\x00", "Same.", "same", *marks, *marks], action.k + 2),
        }.get(self.proposer, [f"reply {mark}" for mark in marks])
        is_step = self.proposer == "steps" and self._depth(action) < self.steps
        return Drafts(
            tuple(
                Draft.model_construct(reply=text, strategy_tag="", payload={}, is_step=is_step)
                for text in made
            ),
        )

    def _depth(self, action: Generate | Refine) -> int:
        return 1 if isinstance(action, Generate) else 1 + self.depths.get(action.node_ids[0], 0)

    def _verdicts(self, action: JudgeList) -> Verdicts:
        asked = list(action.node_ids)
        draw = self._draw("judge", action.action_id)
        if self.judge == "ranks":
            return Verdicts({}, tuple(sorted(asked, key=self.quality, reverse=True)))
        kept = asked[: len(asked) // 2] if self.judge == "fewer" else asked
        if self.judge == "more":
            kept = ["0" * 16, *asked, "nobody"]
        if self.judge == "empty":
            kept = []
        return Verdicts({each: self._verdict(action, each, draw) for each in kept})

    def _verdict(self, action: JudgeList, node_id: str, draw: random.Random) -> Verdict:
        good = self.quality(node_id) + (self.drift if action.pass_index else 0.0)
        place = action.node_ids.index(node_id) if node_id in action.node_ids else 0
        score = {
            "perfect": good,
            "ties": 0.5,
            "lots": draw.random(),
            "by_place": 1 - place / (len(action.node_ids) + 1),
            "huge": 7,
            "negative": -0.1,
            "nan": float("nan"),
            "infinite": float("inf"),
            "bools": True,
            "words": "0.7",
            "odd": draw.choice([None, 0, 1, 0.5, 2, -1, float("nan"), "x", False]),
        }.get(self.judge, self.scale * min(max(good + draw.gauss(0, 0.1), 0.0), 1.0))
        return Verdict(
            score=score,
            attributes={name: draw.random() for name in self.attributes},
            reason="the same words" if self.judge == "same_words" else f"said {place}",
        )


MAX_ROUNDS = 200
"""Far above what any tested search may take: one that goes on for ever stops here."""


def play(
    search: PosteriorSearch,
    model: ScriptedActions,
    *,
    remaining_calls: Iterable[RemainingCalls] = (),
    order: random.Random | None = None,
    repeat: bool = False,
    resume: random.Random | None = None,
    calls: Callable[[Action], int] = lambda action: 1,
) -> tuple[PosteriorSearch, list[list[Action]]]:
    """Drive a posterior search to its end.

    Args:
        search: told as it goes.
        model: answers.
        remaining_calls: of the first rounds; later ones are unlimited.
        order: shuffles the answers of a round where given.
        repeat: whether each answer is told again, and once more as a failure.
        resume: where given, the search is sometimes saved as JSON and restored, also in the
            middle of a round.
        calls: that an answer took.

    Returns:
        The search, the restored one at last, and its rounds.
    """
    rounds: list[list[Action]] = []
    supply = iter(remaining_calls)
    while actions := search.ask(next(supply, RemainingCalls())):
        rounds.append(actions)
        assert len(rounds) <= MAX_ROUNDS, "the search does not end"
        told = order.sample(actions, len(actions)) if order else actions
        model.depths.update((n.node_id, n.depth) for n in search.tree.nodes.values())
        for action in told:
            for _ in range(2 if repeat else 1):
                search.tell(action.action_id, model.answer(action), calls=calls(action))
            if repeat:
                search.tell(action.action_id, NoAnswer(detail="late"), calls=9)
            if resume is not None and resume.random() < 0.5:
                search = PosteriorSearch.from_state(json.loads(json.dumps(search.state_dict())))
    return search, rounds


@pytest.fixture
def actions_model() -> type[ScriptedActions]:
    """The scripted model of actions."""
    return ScriptedActions


@pytest.fixture(name="play")
def _play() -> Callable[..., tuple[PosteriorSearch, list[list[Action]]]]:
    """The driver of posterior searches."""
    return play
