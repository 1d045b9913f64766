# SPDX-License-Identifier: Apache-2.0
"""This project's end of a G1's DDS topics as a process: ``robot DOMAIN`` simulates, ``driver DOMAIN`` drives. SIGTERM ends it, with JSON."""
from __future__ import annotations

import json
import signal
import sys
import tempfile
import threading
import time
from pathlib import Path

import numpy as np

from dex_arms.g1 import READS, WRITES, UnitreeG1Driver
from dex_core.config import load_cell
from dex_core.errors import ConnectionLostError
from dex_ros.topic_link import RosTopicLink
from dex_sim import g1
from dex_sim.plant import KinematicPlant

BODY = load_cell("g1").interface("body")
ELBOW = BODY.names.index("left_elbow_joint")
LONG_S = 120.0
ended = threading.Event()


def say(words: str) -> None:
    """One line for whoever waits for it."""
    sys.stdout.write(words + "\n")
    sys.stdout.flush()


def robot(address: str) -> dict[str, object]:
    """A simulated robot on a kinematic plant."""
    link = RosTopicLink("simulated_g1", address, g1.WRITES, g1.READS)
    link.open()
    plant = KinematicPlant(BODY.names, BODY.home)
    device = g1.G1Robot(BODY, plant, link)
    device.start()
    say("started")
    until, said = time.monotonic() + LONG_S, False
    while not ended.wait(0.05) and time.monotonic() < until:
        if not said and plant.read().position_rad[ELBOW] - BODY.home[ELBOW] > 0.19:
            said = True
            say("raised")
    device.close()
    link.close()
    return {"commands": device.commands, "refused": device.refused, "weight": device.weight,
            "raised": round(float(plant.read().position_rad[ELBOW] - BODY.home[ELBOW]), 3)}


def driver(address: str) -> dict[str, object]:
    """Takes the arms, raises an elbow by 0.2 rad, gives them back; joins again whenever the robot was lost."""
    link, folder = RosTopicLink("g1_driver", address, WRITES, READS), Path(tempfile.mkdtemp())
    device = UnitreeG1Driver(BODY, link, ramp_s=0.5, state_max_age_s=0.5, mark_folder=folder)
    until, losses, raised, rounds = time.monotonic() + LONG_S, 0, 0.0, 0
    while not ended.is_set() and time.monotonic() < until:
        try:
            device.connect()
            device.enable()
            raised, rounds = raise_elbow(device), rounds + 1
            while not ended.wait(0.02) and time.monotonic() < until:
                device.command(device.read().position_rad)
        except ConnectionLostError:
            losses += 1
            say("lost")
    device.disconnect()
    return {"losses": losses, "rounds": rounds, "raised": raised}


def raise_elbow(device: UnitreeG1Driver) -> float:
    """How far the robot says its elbow has come [rad]."""
    start = np.array(device.read().position_rad)
    for part in np.linspace(0.0, 1.0, 50):
        device.command(start + 0.2 * part * np.eye(len(start))[ELBOW])
        time.sleep(0.02)
    time.sleep(0.2)
    say("raised")
    return round(float(device.read().position_rad[ELBOW] - start[ELBOW]), 3)


if __name__ == "__main__":
    signal.signal(signal.SIGTERM, lambda *_: ended.set())
    say(json.dumps({"robot": robot, "driver": driver}[sys.argv[1]](f"dds:{sys.argv[2]}")))
