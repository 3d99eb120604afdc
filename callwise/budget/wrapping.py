"""A LangChain chat model put under a budgeter, in one call."""

from typing import Any

from langchain_core.language_models import BaseChatModel

from callwise.budget.budgeter import Budgeter
from callwise.budget.limits import Limits
from callwise.calls.call import Role
from callwise.calls.chat_model import BudgetedChatModel
from callwise.calls.client import Endpoint
from callwise.calls.errors import ConfigError
from callwise.calls.langchain_client import LangChainClient

__all__ = ["wrap"]

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
    limits: Limits | None = None,
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
        role: which role its calls have. A second model of a budgeter needs another role.
        options: further arguments of `BudgetedChatModel`, such as `final_answer`.

    Raises:
        ConfigError: when `chat_model` is no chat model or is wrapped already; when a budgeter and
            limits are given, or both forms of limits; when the role is not one of a chat model,
            or is served by another model that was wrapped.
    """
    _check_model(chat_model)
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
        budgeter = Budgeter(limits=Limits(max_calls=max_calls) if limits is None else limits)
    known = budgeter.endpoint(role)
    if known is None:
        budgeter.add_endpoint(role, _endpoint_of(chat_model))
    elif isinstance(known.client, _WrappedModelClient) and known.client.wrapped is not chat_model:
        others = ", ".join(each.value for each in _CHAT_ROLES if budgeter.endpoint(each) is None)
        raise ConfigError(
            f"role {role.value} of this budgeter is served by {known.name} ({known.model}), which "
            f"was wrapped before. Give the second model another role ({others or 'none is left'}), "
            "or another budgeter"
        )
    return BudgetedChatModel(llm=budgeter, role=role, **options)


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


def _endpoint_of(chat_model: BaseChatModel) -> Endpoint:
    kind = type(chat_model).__name__
    names = (getattr(chat_model, each, None) for each in ("model_name", "model", "model_id"))
    model = next((name for name in names if isinstance(name, str) and name), kind)
    return Endpoint(kind, model, _WrappedModelClient(chat_model))
