# SPDX-License-Identifier: Apache-2.0
"""The matrix F1 to F41: what is played, at which level, with which result; and what is not, with the reason."""

from __future__ import annotations

from dex_bringup.fault.play import Fault
from dex_core.errors import ConfigError

MATRIX: tuple[Fault, ...] = (
    Fault("F1", "policy killed in mid-chunk", "SIGKILL", "hold, ABORTED policy_lost, no resume by itself", "live", "live_faults:policy_killed"),
    Fault("F2", "policy hangs: lives and answers nothing", "SIGSTOP", "hold by a deadline, ABORTED; goes on only by a new goal", "live",
          "live_faults:policy_hangs"),
    Fault("F3", "policy restarts with another model", "another bundle hash in mid-goal", "refused, latched after N", "gate",
          "chunk_faults:other_model"),
    Fault("F4", "inference takes 2 s once", "late chunk", "starves: hold; late chunk discarded, no jump", "gate", "chunk_faults:late_inference"),
    Fault("F5", "duplicate, reordered, foreign, old chunks", "replayed sequences and stamps", "dropped and counted", "gate", "chunk_faults:replayed"),
    Fault("F6", "NaN, sNaN, +Inf, -Inf in each slot", "message bytes", "whole chunk refused; FAULT after N in a row", "gate",
          "chunk_faults:not_finite"),
    Fault("F7", "missing, unknown, repeated names, wrong length", "message fields", "refused; never by index, never zero", "gate",
          "chunk_faults:misnamed"),
    Fault("F8", "out of range, leap, speed spike", "crafted chunks", "refused, or clamped with a report", "gate", "chunk_faults:out_of_limits"),
    Fault("F9", "first command far from measured", "start offset", "arm refused without motion, hand approaches slowly", "gate",
          "chunk_faults:far_start"),
    Fault("F10", "a chunk of zeros", "degenerate decoder", "a target like any other", "gate", "chunk_faults:zeros"),
    Fault("F11", "a second publisher of joint_command", "publisher count; driver's own count", "latched FAULT; driver refuses both", "device",
          "device_faults:other_publisher"),
    Fault("F12", "joint states silent, frozen, one joint missing", "muted and frozen device", "hold; order of names is free", "gate",
          "gate_faults:bad_states"),
    Fault("F13", "arm's connection reset, half open, box off", "simulator's wire", "driver faults, explicit reconnect, no motion by itself", "device",
          "device_faults:arm_connection"),
    Fault("F14", "hand's line silent or damaged", "simulator's wire", "hand faults, the gate holds the arms", "device",
          "device_faults:hand_unplugged"),
    Fault("F15", "over-current of a finger, then its motor hot", "simulator's registers", "ERROR in words, rests; not before it has cooled", "device",
          "device_faults:hand_overloaded"),
    Fault("F16", "camera's pictures stop, come back", "fault node: image topic off", "goal ABORTED; works again without a restart", "live",
          "live_faults:camera_silent"),
    Fault("F17", "black, frozen, repeated, cut picture, other encoding", "made pictures", "detected; no inference on them", "node",
          "node_faults:bad_pictures"),
    Fault("F19", "poses in an unknown frame", "frame_id", "fails closed", "gate", "gate_faults:wrong_frame"),
    Fault("F20", "wall clock set by 10 s and an hour", "wall clock of the rig", "nothing trips, watchdogs still fire", "gate",
          "chunk_faults:clock_steps"),
    Fault("F21", "policy's host 0.2 s ahead", "stamp offset", "refused as from the future", "gate", "chunk_faults:clock_skew"),
    Fault("F22", "slow consumer", "1000 messages while it sleeps", "newest wins, memory flat", "node", "node_faults:slow_consumer"),
    Fault("F23", "machine stops the gate for 150 ms", "skipped ticks", "goes on from measured; missed ticks reported", "gate",
          "gate_faults:stalled_gate"),
    Fault("F24", "best-effort publisher of a reliable topic", "a publisher with another QoS", "said in the log, not silence", "live",
          "live_faults:other_qos"),
    Fault("F25", "each node killed in turn", "SIGKILL", "hold, ABORTED with who; new goal after restart and reset", "live",
          "live_faults:each_node_killed"),
    Fault("F26", "the gate itself dies", "command stream ends", "drivers hold by themselves", "device", "device_faults:gate_dies"),
    Fault("F27", "goal while a node is inactive; deactivated in mid-goal", "lifecycle services", "refused, ABORTED, with the reason", "live",
          "live_faults:lifecycle_misuse"),
    Fault("F28", "two goals, one pre-empts, cancel in mid-goal", "RunTask", "one owner, a terminal state always", "live", "live_faults:two_goals"),
    Fault("F29", "stop asserted and released", "gate/stop, gate/reset", "latched; reset and a new goal", "gate", "gate_faults:stop_and_release"),
    Fault("F30", "the hands meet, a workspace is left", "scripted targets", "slow down, then stop, both arms", "gate", "gate_faults:arms_meet"),
    Fault("F31", "poses out of reach, a flip", "crafted poses", "nearest feasible, residual reported", "gate", "gate_faults:infeasible"),
    Fault("F32", "model truncated, flipped, NaN, of another hand, missing", "bytes of a bundle", "refused with file and reason", "parser",
          "file_faults:corrupted_model"),
    Fault("F33", "pickle, zip bomb, announced gigabytes", "hostile bytes", "refused before allocation", "parser", "file_faults:hostile"),
    Fault("F34", "malformed recordings", "made files", "named error; a cut one says so", "parser", "file_faults:malformed_recording"),
    Fault("F35", "disk full, no permission", "file size limit", "named error; what was flushed stays", "parser", "file_faults:full_disk"),
    Fault("F36", "bad configuration and arguments", "changed YAML", "refused before anything starts", "parser", "file_faults:bad_config"),
    Fault("F37", "NaN, infinite, negative, zero numbers", "rates, durations, steps", "refused", "gate", "gate_faults:absurd_numbers"),
    Fault("F38", "5 % loss and 200 ms delay; partition of 5 s", "chunks late and lost", "within budget, then hold", "gate", "chunk_faults:bad_line"),
    Fault("F39", "the device is out of memory, lost", "the runtime raises", "told; no goal until it works again, then as before", "node",
          "node_faults:model_fails"),
    Fault("F40", "a second start of the cell, a device twice", "claims", "refused, names the owner", "parser", "file_faults:second_start"),
)

LEFT_OUT: dict[str, str] = {
    "F18": "no node segments or reads depth yet: the policy sees the colour picture",
    "F41": "an hour: `dex bench soak --minutes 60`",
}
"""What is not played, and why."""


def chosen(numbers: list[str]) -> tuple[Fault, ...]:
    """The faults of these numbers in the matrix' order; all for none. Raises ConfigError for one that is not played, with the reason."""
    known = {fault.number: fault for fault in MATRIX}
    for number in numbers:
        if number in LEFT_OUT:
            raise ConfigError(f"{number} is not played: {LEFT_OUT[number]}")
        if number not in known:
            raise ConfigError(f"no fault is called {number!r}; allowed: {', '.join(known)}")
    return tuple(fault for fault in MATRIX if not numbers or fault.number in numbers)
