# SPDX-License-Identifier: Apache-2.0
"""``faults:=...``: which devices may be faulted, and the fault node put in the place of topics by remapping alone."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from dex_bringup.process import ProcessDescription
from dex_core.chunks.join import decoder_of
from dex_core.config import CellConfig
from dex_core.errors import ConfigError
from dex_ros import names


def publishers_of(cell: CellConfig) -> dict[str, tuple[str, ...]]:
    """Topic -> processes that publish it and do not read it: these can be sent elsewhere without their noticing."""
    hands = tuple(name for name, interface in cell.interfaces.items() if interface.robot.kind == "hand")
    camera = {topic: ("camera",) for topic in (names.IMAGE, names.CAMERA_INFO, names.DEPTH, names.DEPTH_INFO)}
    return {
        **(camera if "camera" in cell.camera_nodes else {}),
        names.ACTION_CHUNK: ("policy",),
        names.DECODED_CHUNK: tuple(decoder_of(hand) for hand in hands),
        names.JOINT_COMMAND: ("gate",),
        **{names.device_states(name): (name,) for name in cell.interfaces},
        **{names.mounted_hand(cell.interfaces[hand].side): (decoder_of(hand),) for hand in hands},
    }


def fault_parts(cell: CellConfig, faults: Sequence[str]) -> tuple[tuple[str, ...], dict[str, tuple[str, ...]]]:
    """What was asked for: the interfaces, and the topics with who publishes each.

    Raises:
        ConfigError: the cell is real, or there is no such interface or topic; names those there are.
    """
    if faults and not cell.simulated:
        raise ConfigError(f"faults:={','.join(faults)} with sim:=false; faults are injected into a simulated cell alone")
    topics = publishers_of(cell)
    for part in faults:
        if part not in cell.interfaces and part not in topics:
            raise ConfigError(f"argument faults holds {part!r}; allowed: the interfaces {list(cell.interfaces)} and the topics {list(topics)}")
    return tuple(part for part in faults if part in cell.interfaces), {part: topics[part] for part in faults if part in topics}


def with_relay(
    processes: Sequence[ProcessDescription], publishers: Mapping[str, Sequence[str]], relay: ProcessDescription
) -> tuple[ProcessDescription, ...]:
    """The processes with the relay among them; the publishers of its topics are sent to it. Their readers stay as they are.

    Args:
        processes: of a cell.
        publishers: topic to relay -> names of the processes that publish it.
        relay: the fault node.
    """
    def moved(process: ProcessDescription) -> ProcessDescription:
        sent = tuple((topic, names.unfaulted(topic)) for topic, who in publishers.items() if process.name in who)
        return replace(process, remappings=(*process.remappings, *sent))

    return (*map(moved, processes), relay)
