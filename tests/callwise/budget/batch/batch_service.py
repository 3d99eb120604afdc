"""A client in virtual time that logs each request, and budgeters in front of it."""

import asyncio
from collections import deque

from callwise.budget import Budgeter
from callwise.budget.clock import LoopClock
from callwise.calls import Call, Endpoint, Message, Prices, Purpose, Reply, ReportedUsage, Role
from callwise.calls.errors import BadRequest, CallError
from callwise.calls.load.batch_knobs import BatchKnobs
from callwise.calls.load.load_knobs import LoadKnobs
from callwise.calls.together import replies_of_choices

__all__ = ["PATH", "BatchService", "budgeter", "chat", "embed"]

PATH = "/chat/completions/batch"


def tokens_of(text):
    """Return what the service counts for a text."""
    return len(text.split()) or 1


class BatchService:
    """A service that takes lists: what it was sent, when, and the tokens that it counted.

    Args:
        seconds: time of each answer.
        bad: texts and prompts that it refuses the whole request for.

    Attributes:
        requests: (path, texts) of each request, in the order of arrival.
        times: when each arrived.
        tokens: all that it has counted, of failed requests too.
        failures: errors of the next calls that are asked alone, in order.
        script: errors of the next requests to the route for conversations, in order; a function
            returns a document instead.
    """

    is_simulated = False

    def __init__(self, seconds=0.5, bad=(), most_texts=10**9):
        self.seconds = seconds
        self.bad = set(bad)
        self.most_texts = most_texts
        self.requests = []
        self.times = []
        self.parameters = []
        self.tokens = 0
        self.most_under_way = self.under_way = 0
        self.failures = deque()
        self.script = deque()

    async def answer(self, calls, *, model, on_sent=None):
        """Answer one call."""
        [call] = calls
        texts = list(call.inputs) or [call.messages[-1].content]
        path = "/embeddings" if call.is_embedding else "/chat/completions"
        problem = await self._arrived(path, texts, call, lambda: on_sent and on_sent(0))
        if self.failures:
            problem = self.failures.popleft()
        if problem is not None:
            return [problem]
        count = sum(map(tokens_of, texts))
        if call.is_embedding:
            self.tokens += count
            vectors = tuple((float(len(text)), 1.0) for text in texts)
            return [Reply("", vectors=vectors, usage=ReportedUsage(count, 0), model=model)]
        self.tokens += 2 * count
        return [Reply(f"echo {texts[0]}", usage=ReportedUsage(count, count), model=model)]

    async def answer_conversations(self, calls, *, model, path, on_sent=None):
        """Answer conversations as the route for them does."""
        texts = [call.messages[-1].content for call in calls]
        end = self.script.popleft() if self.script else None
        problem = await self._arrived(path, texts, calls[0], lambda: on_sent and on_sent())
        if problem is not None or isinstance(end, CallError):
            return [problem or end] * len(calls)
        count = sum(map(tokens_of, texts))
        document = {
            "model": model,
            "choices": [
                {"index": index, "message": {"content": f"echo {text}"}}
                for index, text in enumerate(texts)
            ],
            "usage": {"prompt_tokens": count, "completion_tokens": count},
        }
        if end is not None:
            document = end(document)
        usage = document["usage"]
        self.tokens += usage["prompt_tokens"] + usage["completion_tokens"]
        return replies_of_choices(document, calls, latency_seconds=self.seconds)

    async def aclose(self):
        """Do nothing."""

    async def _arrived(self, path, texts, call, report):
        report()
        self.requests.append((path, tuple(texts)))
        self.times.append(asyncio.get_running_loop().time())
        self.parameters.append(call.sampling)
        self.under_way += 1
        self.most_under_way = max(self.most_under_way, self.under_way)
        try:
            await asyncio.sleep(self.seconds)
        finally:
            self.under_way -= 1
        if len(texts) > self.most_texts:
            return BadRequest(f"batch size {len(texts)} > maximum allowed", status=413)
        if self.bad.intersection(texts):
            return BadRequest("a text is not taken", status=400)
        return None


def embed(*texts, **changes):
    """Return a call that embeds texts."""
    return Call(Role.EMBED, Purpose.EMBED, inputs=texts, **changes)


def chat(prompt, **changes):
    """Return a chat call that shares its answer with no equal one."""
    return Call(Role.MAIN, Purpose.OTHER, (Message("user", prompt),), **changes)


def budgeter(service, *, batch=None, **changes):
    """Return a budgeter in virtual time, whose every role one service serves."""
    endpoint = Endpoint("served", "m", service, Prices(1.0, 2.0))
    knobs = BatchKnobs(chat_path=PATH) if batch is None else batch
    load = LoadKnobs(batch=knobs, **changes.pop("load", {}))
    return Budgeter(dict.fromkeys(Role, endpoint), clock=LoopClock(), load=load, **changes)
