# SPDX-License-Identifier: Apache-2.0
"""A bundle of kind ``chunk_policy`` as a Policy: observation -> network inputs -> chunk of named slices, checked both ways."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from dex_core.bundle.load import Bundle
from dex_core.bundle.manifest import Graph, Slice, Tensor
from dex_core.decode.mounted import MountedHand
from dex_core.errors import BundleError, NonFiniteError
from dex_core.policy.base import Observation, PolicySpec, Prediction
from dex_core.policy.hands import HandLatents
from dex_core.policy.heads import head_of
from dex_core.policy.inputs import PolicyInputs
from dex_core.policy.instruction import check_instruction
from dex_core.policy.ranges import RangeCheck
from dex_core.transforms import DELTAS
from dex_core.types import ActionChunk, ActionSlice

if TYPE_CHECKING:
    from dex_core.chunks import Committed


class ChunkPolicy:
    """Runs the network of a loaded policy bundle. One thread at a time.

    The hand latents of the chunk before are an input; before the first chunk of a goal they are the encoded measured
    joints, repeated. ``reset`` forgets them.

    The network knows no hand: each observation tells which are mounted. Another hand than before has its own latents encoded anew, by its
    own encoder; the network, the goal and the sequence go on.

    Args:
        bundle: kind ``chunk_policy``, with its latent space resolved.
        wall_clock_ns: wall-clock time [ns], for the chunk's timing.

    Attributes:
        spec: what it needs and gives.
    """

    def __init__(self, bundle: Bundle, wall_clock_ns: Callable[[], int] = time.time_ns) -> None:
        manifest = bundle.manifest
        if manifest.kind != "chunk_policy":
            raise BundleError(f"bundle {manifest.name!r} is of kind {manifest.kind!r}; a chunk_policy is needed", code="manifest_invalid")
        assert manifest.timing and manifest.instruction and manifest.normalisation  # the kind's manifest check
        self._head = head_of(bundle)
        self._words, self._timing = manifest.instruction, manifest.timing
        self._wall_clock_ns = wall_clock_ns
        self._inputs = PolicyInputs(bundle)
        self._output: Tensor = manifest.chunk_tensor
        self._ranges = [_range_check(bundle, self._output, s) for s in self._output.slices]
        shown = [(t, s) for t in self._inputs.measured_tensors for s in t.slices if s.space == "wrist_pose"]
        self._shown_ranges = [(t.name, s.at, _range_check(bundle, t, s)) for t, s in shown]
        self._space_hash = {s.interface: bundle.space.graph_sha256(s.anchor) for s in self._output.slices if s.space == "latent" and bundle.space}
        self._mounted_sides = _sides_that_carry_a_hand(manifest.seeing_graph, self._output)
        self._hands = _hand_latents(bundle, self._output, self._timing.chunk)
        self.spec = self._make_spec(bundle)

    @property
    def hand_changes(self) -> int:
        """How often another hand than before was found mounted."""
        return self._hands.changes if self._hands else 0

    def reset(self) -> None:
        """Forgets the previous latents; a flow's noise begins anew."""
        self._head.reset()
        if self._hands:
            self._hands.reset()

    def check_instruction(self, instruction: str) -> str:
        """The trained sentence nearest to it. Raises DexError ``instruction_invalid`` or ``instruction_unknown``."""
        return check_instruction(instruction, self._words.trained, self._words.min_similarity)

    def check_mounted(self, hand: MountedHand) -> None:
        """Raises ObservationRefused ``space_mismatch`` where the policy's latent space cannot move this hand."""
        if self._hands:
            self._hands.check(hand)

    def health(self) -> str | None:
        """None: a network in this process answers or raises."""
        return None

    def close(self) -> None:
        """Nothing to let go: the sessions belong to the bundle."""

    def infer(self, observation: Observation, goal_id: str = "", sequence: int = 0, committed: Committed | None = None) -> Prediction:
        """The next chunk; ``committed`` binds that of a flow, and is ignored by a network that gives its chunk at once.

        Raises:
            ObservationRefused: mounted hand, picture, joint names or joint limits.
            NonFiniteError: the network gave a number that is not finite.
            LimitError: ``output_range``, the output is far outside what the network was trained to give.
        """
        if self._hands:
            self._hands.follow(observation.mounted)
        previous = {i: self._hands.previous(i, observation) for t in self._inputs.latent_tensors for i in t.interfaces} if self._hands else {}
        measured = self._inputs.measured(observation)
        inputs = self._inputs.network(observation, measured, previous)
        odd = tuple(text for name, at, check in self._shown_ranges if (text := check.flag(measured[name][:, at[0] : at[1]])))
        started_ns, start = self._wall_clock_ns(), time.perf_counter_ns()
        values = self._head.chunk(inputs, committed)  # (chunk, columns)
        inference_ms = (time.perf_counter_ns() - start) * 1e-6
        inferred_ns = self._wall_clock_ns()
        if not np.isfinite(values).all():
            raise NonFiniteError(f"policy {self.spec.name!r} gave {np.count_nonzero(~np.isfinite(values))} numbers that are not finite")
        flags = tuple(f for s, r in zip(self._output.slices, self._ranges, strict=True) if (f := r.check(values[:, s.at[0] : s.at[1]])))
        slices = tuple(self._slice(s, values[:, s.at[0] : s.at[1]], observation) for s in self._output.slices)
        chunk = ActionChunk(
            stamp_ns=observation.stamp_ns,
            goal_id=goal_id,
            sequence=sequence,
            dt_s=self._timing.dt,
            first_action_offset=self._timing.first_action_offset,
            slices=slices,
            bundle_hash=self.spec.bundle_hash,
            timing_ns={"observed": observation.stamp_ns, "inference_started": started_ns, "inferred": inferred_ns},
        )
        if self._hands:
            self._hands.keep(slices)
        return Prediction(chunk, inference_ms, odd + flags)

    def _make_spec(self, bundle: Bundle) -> PolicySpec:
        measured = {s.interface: s.space for t in self._inputs.measured_tensors for s in t.slices}
        if self._output.kind != "absolute":
            measured = {**{s.interface: s.space for s in self._output.slices}, **measured}
        poses = sorted(i for i, space in measured.items() if space == "wrist_pose")
        return PolicySpec(
            bundle.manifest.name,
            bundle.hash,
            bundle.provider,
            {image.camera: (image.source_height, image.source_width) for image in self._inputs.pictures},
            tuple(sorted({*measured, *(i for t in self._inputs.latent_tensors for i in t.interfaces)})),
            tuple(s.interface for s in self._output.slices),
            self._timing.chunk,
            self._timing.dt,
            self._timing.first_action_offset,
            self._words.trained,
            tuple(poses),
            self._mounted_sides,
            self._timing.observation_history,
            self._timing.dt,
            self._head.continues,
        )

    def _slice(self, s: Slice, values: NDArray[np.float64], observation: Observation) -> ActionSlice:
        if self._output.kind != "absolute":
            values = DELTAS[self._output.kind](self._inputs.column(observation, s)).inverse(values)
        return ActionSlice(s.interface, s.space, values, s.column_names, s.frame, self._space_hash.get(s.interface, ""))


def _range_check(bundle: Bundle, tensor: Tensor, s: Slice) -> RangeCheck:
    key = f"{tensor.name}/{s.interface}"
    return RangeCheck(bundle.stats[key], key, s.space)


def _sides_that_carry_a_hand(graph: Graph, chunk: Tensor) -> tuple[str, ...]:
    """Sides of which latents or poses of the hand are spoken: what they mean depends on the hand that is mounted."""
    return tuple(sorted({s.side for t in (*graph.inputs, chunk) for s in t.slices if s.space in ("latent", "wrist_pose")}))


def _hand_latents(bundle: Bundle, output: Tensor, steps: int) -> HandLatents | None:
    """What is kept of the hands, or None for a policy without latents."""
    hands = tuple(s.interface for s in output.slices if s.space == "latent")
    return HandLatents(bundle.space, hands, steps) if hands and bundle.space is not None else None
