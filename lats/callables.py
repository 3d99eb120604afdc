"""Checks of a user's functions: what they are called with, before anything is asked."""

import functools
import inspect
import reprlib
from collections.abc import Sequence
from typing import Any

__all__ = ["check_function", "name_of"]


def name_of(function: object) -> str:
    """Return a function's name and the line where it is defined, for errors."""
    inner: Any = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    code = getattr(inner, "__code__", None)
    name = getattr(inner, "__qualname__", None) or type(inner).__qualname__
    return name if code is None else f"{name} ({code.co_filename}:{code.co_firstlineno})"


def is_coroutine_function(function: object) -> bool:
    """Return whether calling a function, partial or object makes a coroutine."""
    while isinstance(function, functools.partial):
        function = function.func
    call = getattr(type(function), "__call__", None)  # noqa: B004 - its code is wanted
    return inspect.iscoroutinefunction(function) or inspect.iscoroutinefunction(call)


def check_function(
    function: object, name: str, parameters: Sequence[str], returns: str, *, is_awaited: bool
) -> None:
    """Check that a function can be called as it will be.

    Functions whose signature Python does not have, as of some builtins, are not checked.

    Args:
        function: what was given.
        name: of the argument that it was given as.
        parameters: names of the positional arguments that it is called with.
        returns: what it returns.
        is_awaited: whether it may be a coroutine function.

    Raises:
        TypeError: when it cannot be called so.
    """
    wanted = f"{name.split('[', maxsplit=1)[0]}({', '.join(parameters)}) -> {returns}"
    if not callable(function):
        raise TypeError(
            f"{name} is {reprlib.repr(function)} (type {type(function).__name__}); give a "
            f"function {wanted}"
        )
    if not is_awaited and is_coroutine_function(function):
        raise TypeError(
            f"{name} is the coroutine function {name_of(function)}, but it is not awaited; give a "
            f"plain function {wanted}"
        )
    try:
        signature = inspect.signature(function)
    except ValueError:
        return  # a builtin that has none
    try:
        signature.bind(*parameters)
    except TypeError as error:
        raise TypeError(
            f"{name} is called as {wanted}, but {name_of(function)} takes {signature}: {error}"
        ) from None
