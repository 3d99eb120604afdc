"""Every behaviour that a turn is tried against."""

from tests.providers.behaviour import Behaviour, reply
from tests.providers.endpoints import ENDPOINTS
from tests.providers.refusals import REFUSALS
from tests.providers.responses import RESPONSES
from tests.providers.texts import TEXTS
from tests.providers.unseen import UNSEEN

__all__ = ["BEHAVIOURS", "PLAIN"]

PLAIN = Behaviour("as it should be", "answers", None, reply(is_exact=True), "nobody", shows=False)
"""A server without oddities."""

BEHAVIOURS = [PLAIN, *REFUSALS, *RESPONSES, *TEXTS, *ENDPOINTS, *UNSEEN]
