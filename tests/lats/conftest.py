"""A scripted proposer and judge, and a driver that keeps the promise of a round."""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass, field

import pytest

from lats.draft import Draft
from lats.fast_score import ReplyContext
from lats.judgement import Judgement
from lats.policy import SearchPolicy
from lats.proposal import Drafts, Failure, Kind, Proposal, Side, side_of
from lats.room import Room

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
    failing: frozenset[Kind] = frozenset()
    """Kinds that always fail."""
    refusing: frozenset[Kind] = frozenset()
    """Kinds that are always refused."""
    asked: list[Proposal] = field(default_factory=list)

    def answer(self, proposal: Proposal) -> Drafts | Judgement | Failure:
        """Return the answer to one proposal."""
        self.asked.append(proposal)
        if proposal.kind in self.refusing:
            return Failure(is_refused=True, detail="no room")
        if proposal.kind in self.failing:
            return Failure(detail="down")
        draw = random.Random(f"{self.seed}/{proposal.proposal_id}")
        if side_of(proposal.kind) is Side.PROPOSER:
            return self._drafts(proposal, draw)
        return self._judgement(proposal, draw)

    def _drafts(self, proposal: Proposal, draw: random.Random) -> Drafts:
        count = getattr(proposal, "k", 1)
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
        return Drafts(drafts=tuple(drafts))

    def _judgement(self, proposal: Proposal, draw: random.Random) -> Judgement:
        is_root = sum(earlier.kind is Kind.JUDGE for earlier in self.asked) == 1
        passes = self.gates == "always" or (self.gates == "after_root" and not is_root)
        low, high = (0.85, 0.95) if passes else (0.3, 0.7)
        return Judgement(
            score=round(draw.uniform(low, high), 2),
            plan_alignment=0.9,
            mode_fit=0.9,
            assistantness=0.1,
            reason="scripted",
        )


def drive(
    search: SearchPolicy,
    model: ScriptedModel,
    *,
    shuffle: random.Random | None = None,
    repeat: bool = False,
    max_rounds: int | None = None,
    room: Callable[[], Room] = Room,
) -> list[list[Proposal]]:
    """Drive a search and return its rounds, told in order or shuffled, once or twice."""
    rounds: list[list[Proposal]] = []
    while max_rounds is None or len(rounds) < max_rounds:
        proposals = search.ask(room())
        if not proposals:
            break
        rounds.append(proposals)
        answers = [(each.proposal_id, model.answer(each)) for each in proposals]
        if shuffle is not None:
            shuffle.shuffle(answers)
        for proposal_id, answer in answers:
            search.tell(proposal_id, answer)
            if repeat:
                search.tell(proposal_id, Failure(detail="a late second answer"))
    return rounds


@pytest.fixture
def context() -> ReplyContext:
    """What the rules know of the scripted turn."""
    return CONTEXT


@pytest.fixture
def scripted() -> type[ScriptedModel]:
    """The scripted model."""
    return ScriptedModel


@pytest.fixture(name="drive")
def _drive() -> Callable[..., list[list[Proposal]]]:
    """The driver."""
    return drive
