"""The model that answers what `wrap` returns, and its counted calls."""

from typing import Any

import pytest
from langchain_core.language_models import FakeListChatModel

import callwise as cw
from callwise.calls import Call, CallRefused, ConfigError, Prices, Purpose, Role


@pytest.fixture
def model() -> FakeListChatModel:
    """Return a model of a user."""
    return FakeListChatModel(responses=["from the user's model"])


def test_without_a_budgeter_the_model_answers_under_the_limit(model: Any) -> None:
    """A new budgeter counts its calls; the call above the limit is refused before it is sent."""
    wrapped = cw.wrap(model, max_calls=2)
    assert [wrapped.invoke("Hello.").text for _ in range(2)] == ["from the user's model"] * 2
    with pytest.raises(CallRefused, match="max_calls"):
        wrapped.invoke("Hello.")
    rows = wrapped.llm.ledger.rows  # type: ignore[attr-defined]
    assert [(row.endpoint, row.outcome) for row in rows] == [
        *[("FakeListChatModel", "served")] * 2,
        ("FakeListChatModel", "refused"),
    ]
    wrapped.close()


def test_a_budgeter_without_an_endpoint_gets_the_model(model: Any) -> None:
    """Its own limits bind, and both models that it serves share them."""
    budgeter = cw.Budgeter(limits=cw.Limits(max_calls=2))
    other = FakeListChatModel(responses=["from the other"])
    main, fast = cw.wrap(model, budgeter), cw.wrap(other, budgeter, role="fast")
    assert (main.invoke("a").text, fast.invoke("a").text) == (
        "from the user's model",
        "from the other",
    )
    with pytest.raises(CallRefused):
        fast.invoke("b")
    budgeter.close()


def test_an_endpoint_that_is_there_answers(model: Any) -> None:
    """So a program is tried with the simulated model, which sends nothing to its own."""
    budgeter = cw.Budgeter.simulated()
    assert cw.wrap(model, budgeter).invoke("Hello.").text != "from the user's model"
    assert budgeter.ledger.rows[0].is_simulated
    assert "(simulated)" in cw.show(budgeter).markdown
    budgeter.close()


def test_a_second_model_does_not_answer_for_the_first(model: Any) -> None:
    """It needs a separate role; the same model may be wrapped again."""
    budgeter = cw.Budgeter()
    cw.wrap(model, budgeter)
    assert cw.wrap(model, budgeter).llm is budgeter
    with pytest.raises(ConfigError, match=r"role main .* by FakeListChatModel .*\(judge, fast\)"):
        cw.wrap(FakeListChatModel(responses=[]), budgeter)


@pytest.mark.parametrize(
    ("arguments", "problem"),
    [
        ({"budgeter": cw.Budgeter(), "max_calls": 1}, "limits belong to the budgeter"),
        ({"limits": cw.Limits(), "max_calls": 1}, "both given"),
        ({"role": "manager"}, "no role of a chat model. Use one of: main, judge, fast"),
        ({"role": "embed"}, "'embed' is no role of a chat model"),
        ({"limits": cw.Limits(max_usd=1.0)}, "has no prices"),
    ],
)
def test_arguments_that_contradict(model: Any, arguments: dict[str, Any], problem: str) -> None:
    """One error that names what to do."""
    with pytest.raises(ConfigError, match=problem):
        cw.wrap(model, **arguments)


def test_what_is_no_chat_model(model: Any) -> None:
    """A model with bound arguments is wrapped before they are bound, and none twice."""
    with pytest.raises(ConfigError, match="Binding is no LangChain chat model"):
        cw.wrap(model.bind(stop=["."]))
    with pytest.raises(ConfigError, match="wrapped already"):
        cw.wrap(cw.wrap(model))


def test_options_are_those_of_the_chat_model(model: Any) -> None:
    """An agent's last answer, for example."""
    wrapped = cw.wrap(model, max_calls=0, final_answer="No calls left.")
    assert wrapped.invoke("Hello.").text == "No calls left."
    wrapped.close()


def test_a_limit_in_usd_needs_prices(model: Any) -> None:
    """They are those of the user's model; `with` closes it."""
    prices = Prices(1, 2)
    with cw.wrap(model, limits={"max_usd": 0.01}, prices=prices, max_tokens=20) as wrapped:
        assert wrapped.invoke("Hello.").text == "from the user's model"
        assert wrapped.llm.endpoint("main").prices == prices  # type: ignore[attr-defined]
    with pytest.raises(ConfigError, match=r"simulated \(simulated\) answers for the role main"):
        cw.wrap(model, cw.Budgeter.simulated(), prices=prices)


def test_endpoints_that_no_role_has_are_not_passed_over(model: Any) -> None:
    """A role that is misspelt would leave the user's model to answer."""
    endpoint = cw.Budgeter.simulated().endpoint("main")
    assert endpoint is not None
    with pytest.raises(ConfigError, match=r"named mian, .*would be asked\. Did you mean 'main'\?"):
        cw.wrap(model, cw.Budgeter({"mian": endpoint}))
    with pytest.raises(ConfigError, match="Name one of them 'main'"):
        cw.wrap(model, cw.Budgeter({"qwen32b": endpoint}))


def test_a_chat_model_may_be_an_endpoint(model: Any) -> None:
    """Its calls are the budgeter's; what is neither is named."""
    other = FakeListChatModel(responses=["not asked"])
    with cw.Budgeter({"main": model}) as budgeter:
        assert cw.wrap(other, budgeter).invoke("Hello.").text == "from the user's model"
    with pytest.raises(ConfigError, match=r"the endpoint main is a str\. Give an `Endpoint\("):
        cw.Budgeter({"main": "http://127.0.0.1"})


@pytest.mark.parametrize(
    ("arguments", "options", "problem"),
    [
        ((20,), {}, r"is a Budgeter, got 20\. For a limit write `wrap\(model, max_calls=20\)`"),
        ((), {"max_usd": 5}, r"`max_usd`: it is a limit: give `limits=Limits\(max_usd=\.\.\.\)`"),
        ((), {"limits": 5}, r"limits are `Limits\(max_calls=\.\.\.\)`, got 5"),
    ],
)
def test_a_limit_in_another_place(model: Any, arguments: Any, options: Any, problem: str) -> None:
    """The error has the way to give it."""
    with pytest.raises(ConfigError, match=problem):
        cw.wrap(model, *arguments, **options)


async def test_what_is_no_call(model: Any) -> None:
    """Text, and messages as a provider's API has them."""
    async with cw.Budgeter.simulated() as budgeter:
        with pytest.raises(TypeError, match=r"is asked a Call, got 'hi'\. Write Call\("):
            await budgeter.ask("hi")  # type: ignore[arg-type]
        call = Call(Role.MAIN, Purpose.OTHER, ({"role": "user", "content": "hi"},))  # type: ignore[arg-type]
        with pytest.raises(TypeError, match=r"are Message\(role, content\), got .'role'"):
            await budgeter.ask_all([call])
    async with cw.wrap(model) as wrapped:
        assert (await wrapped.ainvoke("Hello.")).text == "from the user's model"
