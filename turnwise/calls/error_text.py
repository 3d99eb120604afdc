"""What a call's error means for the person who set up its endpoint, in one place.

An error of a call knows the role and the endpoint once the budgeter has seen it. The
sentence made here names both, what happened, what sets it, and whether the same command
goes on: everything that was finished is kept, so it does.
"""

from turnwise.calls.errors import (
    AuthFailed,
    BadRequest,
    CallError,
    ConnectionFailed,
    ContextTooLong,
    EndpointError,
    ModelLoading,
    QuotaExhausted,
    RateLimited,
    UnknownModel,
    WrongAddress,
)
from turnwise.calls.vocabulary import Role

__all__ = ["text_of_error"]

OWN_NOTES = ("not tried again", "unfinished turn")
"""How the notes begin that are shown with an error; others add theirs, too."""

GOES_ON = "The same command goes on where it stopped."


def text_of_error(error: CallError) -> str:
    """Return an error as a sentence with its role and endpoint, and a way out.

    An error that never reached a budgeter, or is not about an endpoint, is left as it is.
    """
    kind, text = type(error).__name__, str(error)
    if error.endpoint is None or not isinstance(error, EndpointError):
        return f"{kind}: {text}"
    name, model = error.endpoint.name, error.endpoint.model
    # Clients begin with the host, which the sentence has said by then.
    host, separator, rest = text.partition(": ")
    if separator and " " not in host:
        text = rest
    noted = (note for note in getattr(error, "__notes__", ()) if note.startswith(OWN_NOTES))
    notes = "".join(f"; {note}" for note in noted)
    sentence = f"{kind}: {error.role} at {name} ({model}): {text}{notes}"
    sentence = sentence if sentence.endswith(("?", "!", ".")) else f"{sentence}."
    way_out = _way_out(error, error.role)
    return " ".join(filter(None, (sentence, way_out, GOES_ON)))


def _way_out(error: EndpointError, role: Role | None) -> str:
    """Return what to set or do, in one sentence; empty where there is nothing to say."""
    knob = f"endpoints.{role}"
    variable = error.endpoint.key_variable if error.endpoint is not None else None
    match error:
        case WrongAddress():
            return f"Set TURNWISE_BASE_URL, or {knob}.base_url, to the URL of the API."
        case UnknownModel():
            return (
                f"Set {_model_variable(role)}, or {knob}.model, to a model of "
                "this endpoint; `turnwise endpoints check` shows what it serves."
            )
        case AuthFailed():
            return f"Set {variable or 'its key'} to a key of this host."
        case QuotaExhausted():
            return (
                f"The account behind {variable or 'its key'} has no quota left: add credit, or "
                "use another endpoint."
            )
        case ModelLoading():
            return "Wait until it has loaded, or raise retry.model_loading_seconds."
        case ConnectionFailed():
            return f"Is the server up, and TURNWISE_BASE_URL or {knob}.base_url right?"
        case RateLimited():
            return "Wait, ask with less concurrency, or raise retry.rate_limited_attempts."
        case ContextTooLong():
            return "Use a model with a longer context, or lower memory.history_turns."
        case BadRequest():
            return (
                "`turnwise endpoints check` shows what this endpoint takes; TURNWISE_BASE_URL or "
                f"{knob}.base_url sets another."
            )
    return ""


def _model_variable(role: Role | None) -> str:
    own = "" if role in {None, Role.MAIN} else f"{role}_".upper()
    return f"TURNWISE_{own}MODEL"
