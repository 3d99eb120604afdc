"""Counters of the service and of the ledger in the text format of Prometheus.

Source: https://prometheus.io/docs/instrumenting/exposition_formats/ (text format 0.0.4).
"""

from collections.abc import Iterable, Mapping
from typing import Literal

from callwise.serve.room_host import RoomHost

__all__ = ["CONTENT_TYPE", "metrics_text"]

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"

Labels = Mapping[str, str]
Sample = tuple[Labels, int | float]

_ESCAPES = str.maketrans({"\\": "\\\\", '"': '\\"', "\n": "\\n"})


def _family(
    name: str, kind: Literal["counter", "gauge"], about: str, samples: Iterable[Sample]
) -> str:
    """Return one family of samples, with its help and its type."""
    lines = [f"# HELP callwise_{name} {about}", f"# TYPE callwise_{name} {kind}"]
    for labels, value in samples:
        inner = ",".join(f'{key}="{each.translate(_ESCAPES)}"' for key, each in labels.items())
        lines.append(f"callwise_{name}{f'{{{inner}}}' if inner else ''} {value!r}")
    return "\n".join(lines) + "\n"


def metrics_text(host: RoomHost, ended: Mapping[str, int]) -> str:
    """Return the metrics of a room.

    Args:
        ended: connections that have ended, by why.
    """
    statistics = host.budgeter.run.statistics()
    counts, usage = statistics.counts, statistics.counts.usage
    nothing: Labels = {}
    is_up = int(host.state == "running")
    outcomes: list[Sample] = [
        ({"outcome": outcome.value}, count) for outcome, count in counts.outcomes.items()
    ]
    roles: list[Sample] = [
        ({"role": role}, each.usage.requests) for role, each in statistics.by_role.items()
    ]
    tokens: list[Sample] = [
        ({"kind": "input"}, usage.input_tokens),
        ({"kind": "output"}, usage.output_tokens),
        ({"kind": "cached"}, usage.cached_tokens),
    ]
    closed: list[Sample] = [({"reason": why}, count) for why, count in sorted(ended.items())]
    about = host.counted
    return "".join(
        (
            _family("up", "gauge", "Whether the room runs.", [(nothing, is_up)]),
            _family("calls_asked_total", "counter", "Calls asked.", [(nothing, counts.asked)]),
            _family("calls_in_flight", "gauge", "Calls under way.", [(nothing, counts.in_flight)]),
            _family("calls_total", "counter", "Ended calls by outcome.", outcomes),
            _family("requests_total", "counter", "Requests by role of their call.", roles),
            _family("tokens_total", "counter", "Known tokens; cached are part of input.", tokens),
            _family("usd_total", "counter", "Known cost in USD.", [(nothing, usage.usd)]),
            _family(
                "requests_of_unknown_usd_total",
                "counter",
                "Requests whose cost is not known.",
                [(nothing, usage.unknown_usd)],
            ),
            _family("repairs_total", "counter", "Repairs of answers.", [(nothing, counts.repairs)]),
            _family("wakes_total", "counter", "Hours woken.", [(nothing, about["wakes"])]),
            _family(
                "messages_said_total", "counter", "Lines of people.", [(nothing, about["said"])]
            ),
            _family(
                "messages_delivered_total",
                "counter",
                "Messages that came into the log.",
                [(nothing, about["delivered"])],
            ),
            _family(
                "messages_refused_total",
                "counter",
                "Messages of clients that were not taken.",
                [(nothing, about["refused messages"])],
            ),
            _family(
                "acknowledgements_total",
                "counter",
                "Numbers that clients have acknowledged.",
                [(nothing, host.acknowledgements.count)],
            ),
            _family(
                "messages_waiting",
                "gauge",
                "Messages that wait for their time.",
                [(nothing, host.undelivered())],
            ),
            _family("clients", "gauge", "Clients connected.", [(nothing, len(host.feed.readers))]),
            _family("connections_ended_total", "counter", "Ended connections by reason.", closed),
        )
    )
