"""Distance of the token estimate from real tokenizers, and the time it takes.

    python benchmarks/tokens.py [--fit] [--tokenizer-json NAME=PATH ...]

Compares the weights of `callwise/budget/token_tables.py` with tiktoken's tables, if
they are in tiktoken's cache folder (TIKTOKEN_CACHE_DIR), and with any tokenizer
in Hugging Face's JSON format whose path is given (needs `pip install tokenizers`).
Reads recorded conversations from CALLWISE_DATA, in place. What is absent is left
out, and said. `--fit` prints weights fitted on every second message; the errors
are always those of the other messages. Deterministic, timing aside.
"""

import argparse
import json
import os
import timeit
from collections.abc import Callable
from pathlib import Path

import numpy as np

from callwise.budget.token_estimate import TokenEstimator, count_kinds, estimator
from callwise.budget.token_tables import FAMILIES, cached_encoding, weights_for

__all__ = ["main"]

Counter = Callable[[str], int]

SIZES_CHARS = (1, 1_000, 3_000)
"""Messages are joined up to this length; 1 leaves each by itself."""

OTHER_SCRIPTS = (
    "Сегодня утром я долго гулял по парку и думал о том, что ты мне сказала вчера.",
    "Завтра мы поедем к бабушке в деревню, а потом вернёмся домой поездом.",
    "Σήμερα το πρωί περπάτησα στο πάρκο και σκέφτηκα όσα μου είπες χθες.",
    "مشيت هذا الصباح في الحديقة وفكرت طويلا فيما قلته لي أمس عن السفر.",
    "הבוקר טיילתי בפארק וחשבתי הרבה על מה שאמרת לי אתמול.",
    "今朝は公園を散歩しながら、きのう君が言ったことをずっと考えていました。",
    "コーヒーを飲みながら、ゆっくりデザインのアイデアをまとめたいです。",
    "오늘 아침에 공원을 산책하면서 어제 네가 한 말을 오래 생각했어.",
    "आज सुबह मैं बगीचे में टहलते हुए तुम्हारी कल की बात सोचता रहा।",
    "เมื่อเช้านี้ฉันเดินเล่นในสวนและคิดถึงสิ่งที่คุณพูดเมื่อวาน",
    "Ce matin, je me suis promené près du château, et l'été m'a paru déjà loin.",
    "Übermorgen fährt Jürgen früh los; schöne Grüße an die ganze Familie!",
    "Sáng nay tôi đi dạo trong công viên và nghĩ về điều bạn đã nói hôm qua.",
    "haha 😂😂 that was amazing 🎉🎉🎉 see you tomorrow 👋🏽 ❤️",
    "太好了😊！明天见👋 我请你喝咖啡☕️🍰，好不好？🥺",
)
"""Lines of scripts that the recorded conversations lack, so that no weight is a guess."""


def _lines(path: Path) -> list[str]:
    return path.read_text(encoding="utf-8").splitlines()


def read_sources(data: Path) -> dict[str, list[str]]:
    """Return messages by source, in file order; a source that is absent is left out."""
    sources: dict[str, list[str]] = {}
    turns = data / "sample_memorybank_cn" / "turns.jsonl"
    if turns.exists():
        rows = [json.loads(line) for line in _lines(turns)]
        sources["memorybank zh"] = [row[k] for row in rows for k in ("user_text", "bot_text")]
    dialogues = data / "sample_kdconv_zh" / "dialogues.jsonl"
    if dialogues.exists():
        rows = [json.loads(line) for line in _lines(dialogues)]
        sources["kdconv zh"] = [m["text"] for row in rows for m in row["messages"]]
        facts = _lines(data / "sample_kdconv_zh" / "facts.jsonl")
        sources["json lines zh"] = facts[:400]
    chats = sorted((data / "sample_irc_groupchat").glob("*.jsonl"))
    if chats:
        lines = [line for path in chats for line in _lines(path)]
        sources["irc en"] = [json.loads(line)["text"] for line in lines]
        sources["json lines en"] = lines[:400]
    pool = data / "topicalchat_reply_pool" / "pool.parquet"
    if pool.exists():
        sources.update(_topical_chat(pool))
    return sources


def _topical_chat(pool: Path) -> dict[str, list[str]]:
    try:
        from pyarrow import parquet
    except ImportError:
        print("left out: topical-chat en (needs pyarrow: the `bench` extra)")
        return {}
    columns = ["dialogue", "fact", "response"]
    rows = parquet.read_table(pool, columns=columns).to_pylist()
    texts = (line for row in rows for name in columns for line in row[name].splitlines())
    return {"topical-chat en": list(dict.fromkeys(text for text in texts if text.strip()))}


def read_references(named_paths: list[str]) -> dict[str, Counter]:
    """Return the real tokenizers that are at hand, by family name."""
    references: dict[str, Counter] = {}
    for model in ("gpt-4", "gpt-4o"):
        encoding = cached_encoding(model)
        if encoding is None:
            print(f"left out: the tokenizer of {model} (its table is not in tiktoken's cache)")
        else:
            references[encoding.name] = lambda text, e=encoding: len(e.encode_ordinary(text))
    for named_path in named_paths:
        name, _, path = named_path.partition("=")
        try:
            from tokenizers import Tokenizer
        except ImportError:
            print(f"left out: {name} (needs the package `tokenizers`)")
            continue
        tokenizer = Tokenizer.from_file(path)
        references[name] = lambda text, t=tokenizer: len(
            t.encode(text, add_special_tokens=False).ids
        )
    return references


def joined(messages: list[str], size_chars: int) -> list[str]:
    """Return consecutive messages joined by line breaks into texts of at least a size."""
    texts: list[str] = []
    open_messages: list[str] = []
    for message in messages:
        open_messages.append(message)
        if sum(map(len, open_messages)) + len(open_messages) > size_chars:
            texts.append("\n".join(open_messages))
            open_messages = []
    return texts


def _non_negative_fit(matrix: np.ndarray, target: np.ndarray) -> np.ndarray:
    """Return the least-squares solution after dropping columns that come out negative."""
    kept = np.flatnonzero(matrix.any(axis=0))
    while True:
        solution = np.linalg.lstsq(matrix[:, kept], target, rcond=None)[0]
        if (solution >= 0).all():
            weights = np.zeros(matrix.shape[1])
            weights[kept] = solution
            return weights
        kept = kept[solution > 0]


def fitted_weights(sources: dict[str, list[str]], count: Counter) -> np.ndarray:
    """Return weights with the least squared relative error on every second message."""
    texts = list(OTHER_SCRIPTS)
    for messages in sources.values():
        samples = joined(messages[0::2], 300)
        places = np.linspace(0, len(samples) - 1, min(len(samples), 150)).astype(int)
        texts += [samples[place] for place in places]
    kinds = np.array([count_kinds(text) for text in texts], dtype=float)
    truth = np.array([count(text) for text in texts], dtype=float)
    return _non_negative_fit(kinds / truth[:, None], np.ones(len(truth)))


def print_errors(sources: dict[str, list[str]], name: str, count: Counter) -> None:
    """Print the errors of one family's weights on the messages that were not fitted."""
    weights = FAMILIES.get(name) or weights_for(name)
    estimate = TokenEstimator(weights).tokens
    for source, messages in sources.items():
        for size in SIZES_CHARS:
            texts = joined(messages[1::2], size)
            truth = np.array([count(text) for text in texts], dtype=float)
            ratios = np.array([estimate(text) for text in texts]) / np.maximum(truth, 1)
            p99_error, p99_below = (
                np.quantile(values, 0.99) for values in (abs(ratios - 1), 1 - ratios)
            )
            print(
                f"| {name} | {source} | {size} | {len(texts)} | {ratios.mean():.3f} "
                f"| {p99_error:.3f} | {max(p99_below, 0):.3f} |"
            )


def print_speed() -> None:
    """Print the best of 20 timings of an estimate of 1 KB, in Chinese and in English."""
    texts = {"Chinese": "今天我去了公园散步，看到一些很漂亮的景色。" * 16}
    texts["English"] = "Yesterday we walked in the park, and I thought of you. " * 18
    estimators = {"weights": estimator("gpt-4o", use_tables=False), "table": estimator("gpt-4o")}
    for name, chosen in estimators.items():
        if name == "table" and not chosen.is_exact:
            continue
        for language, text in texts.items():
            count = chosen._count  # noqa: SLF001 - uncached
            best = min(timeit.repeat(lambda c=count, t=text: c(t), number=200, repeat=20))
            kilobytes = len(text.encode()) / 1000
            print(f"{name}, {language}: {best / 200 * 1e6 / kilobytes:.1f} us a KB")


def main() -> None:
    """Print error tables, weights if asked, and timings."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--fit", action="store_true", help="also print fitted weights")
    parser.add_argument("--tokenizer-json", action="append", default=[], metavar="NAME=PATH")
    options = parser.parse_args()
    data = Path(os.environ.get("CALLWISE_DATA", "../shared/data"))
    sources, references = read_sources(data), read_references(options.tokenizer_json)
    if not sources or not references:
        print(f"no errors measured: {len(references)} tokenizers, {len(sources)} sources in {data}")
    elif options.fit:
        for name, count in references.items():
            print(name, [float(round(w, 3)) for w in fitted_weights(sources, count)])
    if sources and references:
        print("| weights | text | chars | n | mean ratio | p99 abs error | p99 below |")
        print("|---|---|---|---|---|---|---|")
        for name, count in references.items():
            print_errors(sources, name, count)
    print_speed()


if __name__ == "__main__":
    main()
