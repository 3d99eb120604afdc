"""Dense memory before a real server: embeddings are calls like any other."""

import pytest

from tests.model.conftest import counted_in, rows_of, spent_in
from tests.model.programs import cut_model, environment_reason, model_server
from tests.model.proxy import answered_by

pytestmark = pytest.mark.model


@pytest.fixture(scope="module")
def embedding_server():
    """Give the base URL of the cut model as an embedding model."""
    if reason := environment_reason():
        pytest.skip(reason)
    with model_server("--model", cut_model(), "--embedding", "--context", "2048") as url:
        yield url


def test_embeddings_are_counted_as_the_server_counts_them(
    command, behind, conversations, embedding_server, simulated
):
    """Chat and embedding requests, on two hosts, each as its server saw them."""
    chat = behind(stand_in=answered_by(simulated))
    embed = behind(embedding_server)
    command.use(chat.base_url, CALLWISE_EMBED_MODEL="smollm2-embed")
    command(
        *("replay", conversations["en"], "-p", "frugal", "--max-turns", 3, "--out", "run"),
        *("--set", "memory.dense=true", "--set", f"endpoints.embed.base_url={embed.base_url}"),
    )
    ledger = rows_of(command.folder / "run" / "ledger.jsonl")
    embedded = [row for row in ledger if row["role"] == "embed"]
    others = [row for row in ledger if row["role"] != "embed"]
    assert embedded
    assert {row["outcome"] for row in ledger} == {"served"}
    assert {each.path for each in embed.log} == {"/embeddings"}
    assert counted_in(embedded) == spent_in(embed.log)
    assert counted_in(others) == spent_in(chat.log)
    assert all(each.input_tokens > 0 for each in embed.log)
