# SPDX-License-Identifier: Apache-2.0
"""A policy whose graphs run on a server: the local policy of the same bundle, wrapped, with the server's health and times."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING

from dex_core.bundle import Bundle
from dex_core.bundle.files import MANIFEST
from dex_core.bundle.hashes import bundle_hash, sha256_file
from dex_core.bundle.load import find_bundle
from dex_core.bundle.manifest import Graph, Manifest
from dex_core.config import CellConfig
from dex_core.policy import Observation, Policy, PolicySpec, Prediction, load_policy
from dex_policy.remote.session import RemoteSession

if TYPE_CHECKING:
    from dex_core.chunks import Committed
    from dex_core.decode import MountedHand


class RemotePolicy:
    """Wraps a policy whose sessions are remote; as such a policy among policies.

    Args:
        policy: made from a bundle whose sessions are ``sessions``. sessions: at least one.

    Attributes:
        spec: the wrapped policy's.
    """

    def __init__(self, policy: Policy, sessions: list[RemoteSession]) -> None:
        self._policy, self._sessions = policy, sessions
        self.spec: PolicySpec = policy.spec

    @property
    def hand_changes(self) -> int:
        """How often another hand than before was found mounted."""
        return self._policy.hand_changes

    def check_instruction(self, instruction: str) -> str:
        """The sentence it will be taken for. Raises DexError ``instruction_invalid`` or ``instruction_unknown``."""
        return self._policy.check_instruction(instruction)

    def check_mounted(self, hand: MountedHand) -> None:
        """Raises DexError ``space_mismatch`` where the policy cannot move this hand."""
        self._policy.check_mounted(hand)

    def reset(self) -> None:
        """Forgets everything of the goal before."""
        self._policy.reset()

    def infer(self, observation: Observation, goal_id: str = "", sequence: int = 0, committed: Committed | None = None) -> Prediction:
        """The next chunk, with the stages of the server in its timing. Raises as the wrapped policy, RemoteError and DeadlineError."""
        prediction = self._policy.infer(observation, goal_id, sequence, committed)
        stamps: dict[str, int] = {}
        for session in self._sessions:  # of a policy of several graphs: the first request, the last answer
            stamps.update({k: min(v, stamps.get(k, v)) if k in _FIRST else max(v, stamps.get(k, v)) for k, v in session.stamps_ns().items()})
        chunk = replace(prediction.chunk, timing_ns={**prediction.chunk.timing_ns, **stamps})
        return replace(prediction, chunk=chunk, stamps_ns={**prediction.stamps_ns, **stamps})

    def health(self) -> str | None:
        """None while every server can be asked; else code and reason."""
        return next((why for session in self._sessions if (why := session.health())), None)

    def facts(self) -> dict[str, str]:
        """State of the connections, for diagnostics."""
        many = len(self._sessions) > 1
        return {f"{s.name} {k}" if many else k: v for s in self._sessions for k, v in s.facts().items()}

    def close(self) -> None:
        """Ends the connections and closes the wrapped policy."""
        self._policy.close()
        for session in self._sessions:
            session.close()


_FIRST = ("request_sent", "queued", "inference_started")


def open_remote(cell: CellConfig, wall_clock_ns: Callable[[], int] = time.time_ns) -> tuple[RemotePolicy, Bundle]:
    """The cell's policy with its graphs on the cell's server; every check of the bundle has passed, through that server.

    Raises:
        BundleError: a check failed; of the server ``policy_lost``, ``remote_mismatch``, ``remote_invalid`` or ``remote_refused``.
        ConfigError: there is no such bundle, or a file of secrets is wrong.
    """
    config = cell.policy.server
    assert config is not None
    manifest_sha256 = sha256_file(find_bundle(cell.policy.bundle) / MANIFEST)
    sessions: list[RemoteSession] = []

    def open_session(name: str, graph: Graph, manifest: Manifest, _: bytes | str) -> RemoteSession:
        sessions.append(RemoteSession(name, graph, manifest, config, wall_clock_ns))
        sessions[-1].handshake(bundle_hash({MANIFEST: manifest_sha256, **{path: entry.sha256 for path, entry in manifest.files.items()}}))
        return sessions[-1]

    try:
        policy, bundle = load_policy(cell, wall_clock_ns=wall_clock_ns, open_session=open_session)
    except BaseException:
        for session in sessions:
            session.close()
        raise
    return RemotePolicy(policy, sessions), bundle
