"""Awake agents as a service: one room over websockets and HTTP, with a page to watch it."""

from callwise.serve.access import TOKEN_VARIABLE, Access, made_token
from callwise.serve.room_host import RoomHost
from callwise.serve.server import DRAIN_SECONDS, serve_room

__all__ = [
    "DRAIN_SECONDS",
    "TOKEN_VARIABLE",
    "Access",
    "RoomHost",
    "made_token",
    "serve_room",
]
