# SPDX-License-Identifier: Apache-2.0
"""The stages of a chunk from the camera to the joints, in order, and what each of them took."""

from __future__ import annotations

from collections.abc import Mapping

STAGES = (
    "observed", "observation_ready", "request_sent", "queued", "inference_started", "inferred", "received", "published", "decoded", "accepted",
    "first_command", "first_motion",
)
"""Names as in dex_msgs/ChunkTiming. Of a policy in the server's own process ``request_sent``, ``queued`` and ``received`` never happen."""

WORDS = {
    "observation_ready": "picture on its way, joints beside it",
    "request_sent": "request packed",
    "queued": "request on the wire",
    "inference_started": "inputs prepared, or waiting in the server's queue",
    "inferred": "the model",
    "received": "answer on the wire",
    "published": "output checked, message made",
    "decoded": "to joints, by the decoders",
    "accepted": "to the gate, parts joined and examined",
    "first_command": "wait for the control tick",
    "first_motion": "drivers, robot, encoders",
}
"""What the time before a stage is spent on, for people."""


def durations_ms(timing_ns: Mapping[str, int]) -> dict[str, float]:
    """Stage -> time since the stage before it that happened [ms]; the first stage has none.

    Negative where two machines' clocks disagree by more than the stage took.

    Args:
        timing_ns: stage -> wall clock [ns]; a stage that is missing or zero did not happen.
    """
    happened = [(stage, timing_ns[stage]) for stage in STAGES if timing_ns.get(stage)]
    return {stage: (at - before) * 1e-6 for (_, before), (stage, at) in zip(happened, happened[1:], strict=False)}


def total_ms(timing_ns: Mapping[str, int]) -> float | None:
    """From exposure to first command [ms]; None where either did not happen."""
    return _between_ms(timing_ns, "observed", "first_command")


def overhead_ms(timing_ns: Mapping[str, int]) -> float | None:
    """From exposure to first command, less the time in the model [ms]; None where it is not known."""
    total, model = total_ms(timing_ns), _between_ms(timing_ns, "inference_started", "inferred")
    return None if total is None or model is None else total - model


def _between_ms(timing_ns: Mapping[str, int], first: str, last: str) -> float | None:
    begin, end = timing_ns.get(first), timing_ns.get(last)
    return (end - begin) * 1e-6 if begin and end else None
