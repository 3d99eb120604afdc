"""Routing of a LangChain or LangGraph program's calls, whose purpose is `other`."""

import pytest
from langchain_core.language_models import GenericFakeChatModel

import callwise as cw
from callwise.budget import Budgeter
from callwise.calls import ConfigError
from callwise.calls.policies import ComplexityKnobs, RouteEntry, RoutePolicy

BY_LENGTH = RoutePolicy(
    table=(RouteEntry(model="small", max_complexity=0.5), RouteEntry(model="main")),
    complexity=ComplexityKnobs(messages=0, form=0, full_tokens=100),
)


def chat_model(name):
    """Return a chat model that answers with its name."""
    return GenericFakeChatModel(messages=iter([name] * 9))


def test_a_wrapped_model_asks_by_the_policy():
    """Invoked and streamed; each row has the choice, and the role stays that of the program."""
    budgeter = Budgeter(
        {"main": chat_model("main"), "small": chat_model("small")}, policies={"other": BY_LENGTH}
    )
    model = cw.wrap(chat_model("unused"), budgeter)
    assert model.invoke("short").content == "small"
    assert model.invoke("long " * 100).content == "main"
    assert "".join(str(chunk.content) for chunk in model.stream("short again")) == "small"
    rows = budgeter.ledger.rows
    assert [row.choice.model for row in rows] == ["small", "main", "small"]
    assert {row.role for row in rows} == {"main"}
    assert "complexity" in rows[1].choice.reason
    budgeter.close()


def test_a_program_without_the_model_is_refused_when_it_is_built():
    """With the names that there are."""
    with pytest.raises(ConfigError, match=r"names the model 'small', and there are: main\."):
        Budgeter({"main": chat_model("main")}, policies={"other": BY_LENGTH})
