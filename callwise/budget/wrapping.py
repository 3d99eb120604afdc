"""A LangChain chat model put under a budgeter, in one call."""

from collections.abc import Mapping
from difflib import get_close_matches
from typing import Any

from langchain_core.language_models import BaseChatModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.limits import Limits, as_limits
from callwise.calls.call import Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.client import Endpoint, Prices
from callwise.calls.errors import ConfigError
from callwise.calls.langchain_client import LangChainClient

__all__ = ["endpoint_around", "wrap"]

_CHAT_ROLES = tuple(role for role in Role if role is not Role.EMBED)


class _WrappedModelClient(LangChainClient):
    """The client of an endpoint that `wrap` made.

    Args:
        chat: the user's model, which no longer asks by itself.
    """

    def __init__(self, chat: BaseChatModel) -> None:
        super().__init__(chat)
        self.wrapped = chat


def wrap(
    chat_model: BaseChatModel,
    budgeter: Budgeter | None = None,
    *,
    max_calls: int | None = None,
    limits: Limits | Mapping[str, Any] | None = None,
    prices: Prices | None = None,
    role: Role | str = Role.MAIN,
    **options: Any,
) -> BudgetedChatModel:
    """Return a chat model for LangChain and LangGraph whose calls go through a budgeter.

    Use it in place of `chat_model`. Which model answers:

    - Without a budgeter, `chat_model`, under a new budgeter with the limits given.
    - With a budgeter that has no endpoint for the role, `chat_model`, which becomes the endpoint.
    - With a budgeter that has one, that endpoint: `wrap(chat_model, Budgeter.simulated())` sends
      nothing to `chat_model`. So a program can be tried with another model, or none.

    The returned model asks through the budgeter (its `llm`); models of one budgeter share its
    limits. Bind tools and arguments to what is returned, not before. Retries that `chat_model`
    makes by itself are not counted: construct it with `max_retries=0`.

    Args:
        budgeter: counts and limits the calls; None makes one.
        max_calls: most calls of the new budgeter; None for no limit.
        limits: of the new budgeter, in place of `max_calls`; also as a mapping.
        prices: of `chat_model`, `Prices(1, 2)` for 1 USD per million input tokens and 2 USD per
            million output tokens. A limit in USD needs them.
        role: which role its calls have. A second model of a budgeter needs another role.
        options: further arguments of `BudgetedChatModel`, such as `final_answer`.

    Raises:
        ConfigError: when `chat_model` is no chat model or is wrapped already; when a budgeter and
            limits are given, or both forms of limits; when the role is not one of a chat model,
            or is served by another model that was wrapped; when the budgeter has endpoints and
            none is named for a role; when prices are given for a model that does not answer.
    """
    _check_model(chat_model)
    if budgeter is not None and not isinstance(budgeter, Budgeter):
        raise ConfigError(
            f"the second argument of `wrap` is a Budgeter, got {budgeter!r:.40}. For a limit write "
            "`wrap(model, max_calls=20)`"
        )
    if budgeter is not None and (max_calls is not None or limits is not None):
        raise ConfigError(
            "the limits belong to the budgeter: give them to `Budgeter(..., limits=...)`, or give "
            "no budgeter"
        )
    if max_calls is not None and limits is not None:
        raise ConfigError("`max_calls` and `limits` are both given. Put it into `Limits`")
    if role not in _CHAT_ROLES:
        names = ", ".join(each.value for each in _CHAT_ROLES)
        raise ConfigError(f"{str(role)!r} is no role of a chat model. Use one of: {names}")
    role = Role(role)
    if budgeter is None:
        found = Limits(max_calls=max_calls) if limits is None else as_limits(limits)
        budgeter = Budgeter(limits=found)
    known = budgeter.endpoint(role)
    if known is None:
        _check_names(budgeter.endpoint_names, role)
        budgeter.add_endpoint(
            role, _endpoint_of(chat_model, _WrappedModelClient(chat_model), prices)
        )
    elif isinstance(known.client, _WrappedModelClient) and known.client.wrapped is not chat_model:
        others = ", ".join(each.value for each in _CHAT_ROLES if budgeter.endpoint(each) is None)
        raise ConfigError(
            f"role {role.value} of this budgeter is served by {known.name} ({known.model}), which "
            f"was wrapped before. Give the second model another role ({others or 'none is left'}), "
            "or another budgeter"
        )
    elif prices is not None and known.prices != prices:
        raise ConfigError(
            f"prices are those of `{type(chat_model).__name__}`, and {known.name} ({known.model}) "
            f"answers for the role {role.value}. Give them to that endpoint: Endpoint(prices=...)"
        )
    return BudgetedChatModel(llm=budgeter, role=role, **options)


def endpoint_around(given: object, name: str) -> Endpoint:
    """Return a LangChain chat model as an endpoint of a budgeter.

    Args:
        name: the role or name that it was given for, for errors.

    Raises:
        ConfigError: when it is neither an endpoint nor a chat model.
    """
    if isinstance(given, BaseChatModel) and not isinstance(given, BudgetedChatModel):
        return _endpoint_of(given, LangChainClient(given), None)
    raise ConfigError(
        f"the endpoint {name!s:.80} is a {type(given).__name__}. Give an `Endpoint(name, model, "
        "client)`, or a LangChain chat model"
    )


def _check_names(names: tuple[str, ...], role: Role) -> None:
    """Do nothing where endpoints are named for roles, or there are none.

    Raises:
        ConfigError: where none of them would be asked.
    """
    if not names or not set(names).isdisjoint(Role):
        return
    near = get_close_matches(names[0], tuple(Role), 1)
    raise ConfigError(
        f"the endpoints of the budgeter are named {', '.join(names):.200}, and none of them is a "
        f"role ({', '.join(Role)}), so none would be asked. "
        + (f"Did you mean '{near[0]!s}'?" if near else f"Name one of them {role.value!r}")
    )


def _check_model(chat_model: object) -> None:
    """Do nothing for a chat model that can be wrapped.

    Raises:
        ConfigError: for anything else.
    """
    if isinstance(chat_model, BudgetedChatModel):
        raise ConfigError("this chat model is wrapped already. Wrap the model inside it")
    if not isinstance(chat_model, BaseChatModel):
        raise ConfigError(
            f"a {type(chat_model).__name__} is no LangChain chat model. Wrap the chat model "
            "first, and bind tools and arguments to the result"
        )


def _endpoint_of(
    chat_model: BaseChatModel, client: LangChainClient, prices: Prices | None
) -> Endpoint:
    kind = type(chat_model).__name__
    names = (getattr(chat_model, each, None) for each in ("model_name", "model", "model_id"))
    model = next((name for name in names if isinstance(name, str) and name), kind)
    return Endpoint(kind, model, client, prices)
