# SPDX-License-Identifier: Apache-2.0
"""Brings lifecycle nodes that run in other processes up or down, all together, with a deadline that names who did not follow."""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Mapping
from typing import TYPE_CHECKING, Any

from lifecycle_msgs.srv import ChangeState, GetState

from dex_core.errors import DeadlineError, DexError
from dex_msgs.msg import Heartbeat
from dex_ros.node import RETRIED_CODES
from dex_ros.polling import PolledSubscription

if TYPE_CHECKING:
    from dex_bringup.client import CellClient

UNCONFIGURED, INACTIVE, ACTIVE = 1, 2, 3
_CONFIGURE, _CLEANUP, _ACTIVATE, _DEACTIVATE = 1, 2, 3, 4
_NEXT = {
    UNCONFIGURED: {INACTIVE: _CLEANUP, ACTIVE: _DEACTIVATE},
    ACTIVE: {UNCONFIGURED: _CONFIGURE, INACTIVE: _ACTIVATE},
}
"""Target -> state -> transition that leads there."""
RETRY_S = 0.3
ASK_S, ANSWER_S = 1.0, 15.0
"""After how long a node is asked again, and after how long it is silent."""


def bring(client: CellClient, nodes: Collection[str], target: int, timeout_s: float, tick: Callable[[], None] | None = None) -> None:
    """Takes every node to ``UNCONFIGURED`` or ``ACTIVE``; a transition that failed is tried again, since a device may still be starting.

    Args:
        client: asks for it.
        nodes: names, in the client's namespace.
        target: state to reach; other states on the way are passed.
        timeout_s: for all of them together [s].
        tick: called about 20 times a second.

    Raises:
        DexError: not there in time, silent, or refused for a reason that does not go away; names them.
    """
    heartbeats = client.heartbeats()
    try:
        _bring(client, heartbeats, set(nodes), target, timeout_s, tick)
    finally:
        heartbeats.destroy()


def _bring(
    client: CellClient, heartbeats: PolledSubscription[Heartbeat], waiting: set[str], target: int, timeout_s: float, tick: Callable[[], None] | None,
) -> None:
    deadline, refused = time.monotonic() + timeout_s, set()
    while waiting:
        states = _states(client, waiting, tick)
        waiting = {name for name in waiting if states[name] != target}
        if waiting and time.monotonic() > deadline:
            words = {UNCONFIGURED: "unconfigured", INACTIVE: "inactive", ACTIVE: "active"}
            where = ", ".join(f"{name} is {words.get(states[name], states[name])}" for name in sorted(waiting))
            raise DexError(f"not {words[target]} after {timeout_s:g} s: {where}", code="deadline")
        if refused:
            client.pause(RETRY_S)
            _give_up_on(refused & waiting, {beat.node: beat.reason for beat in heartbeats.take_all()})
        requests = {name: _request(_NEXT[target][states[name]]) for name in waiting if states[name] in _NEXT[target]}
        refused = {name for name, answer in _ask(client, ChangeState, "change_state", requests, tick).items() if not answer.success}


def _states(client: CellClient, nodes: Collection[str], tick: Callable[[], None] | None) -> dict[str, int]:
    """Node -> its state. Asks again who does not answer: the middleware may lose the first answer to a client just made.

    Raises:
        DeadlineError: names who was silent.
    """
    states: dict[str, int] = {}
    deadline = time.monotonic() + ANSWER_S
    while len(states) < len(nodes):
        silent = {name: GetState.Request() for name in nodes if name not in states}
        if time.monotonic() > deadline:
            raise DeadlineError(f"get_state of {', '.join(sorted(silent))}", ANSWER_S)
        states.update({name: int(answer.current_state.id) for name, answer in _ask(client, GetState, "get_state", silent, tick).items()})
    return states


def _give_up_on(refused: set[str], reasons: Mapping[str, str]) -> None:
    """Raises DexError where a node says why it cannot, and waiting does not help."""
    for name in sorted(refused):
        reason = reasons.get(name, "")
        if reason and reason not in RETRIED_CODES:
            raise DexError(f"{name} refuses [{reason}]; its log says more", code=reason)


def _request(transition: int) -> ChangeState.Request:
    request = ChangeState.Request()
    request.transition.id = transition
    return request


def _ask(client: CellClient, kind: Any, service: str, requests: Mapping[str, Any], tick: Callable[[], None] | None) -> dict[str, Any]:
    """Node -> answer, all asked at once, of those that answer within ``ASK_S``; what became of the rest is for its state to tell."""
    clients = {name: client.prepare(kind, f"{name}/{service}") for name in requests}
    futures: dict[str, Any] = {}

    def all_answered() -> bool:
        for name in requests:
            if name not in futures and clients[name].service_is_ready():
                futures[name] = clients[name].call_async(requests[name])
        return len(futures) == len(requests) and all(future.done() for future in futures.values())

    try:
        client.spin_until(all_answered, service, ASK_S, tick)
    except DeadlineError:
        for name, future in futures.items():
            if not future.done():
                clients[name].remove_pending_request(future)
    return {name: future.result() for name, future in futures.items() if future.done() and not future.cancelled()}
