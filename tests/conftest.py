# SPDX-License-Identifier: Apache-2.0
"""Keeps the tests to themselves: own ROS domain, this machine only, own log folder; skips what the machine cannot do."""
from __future__ import annotations

import ctypes
import gc
import importlib
import os
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

ROOT = Path(__file__).resolve().parents[1]
REAL_TIME = ('dex_arms', 'dex_hands', 'dex_sim')  # folders whose tests talk to simulators that run at real time
SECOND_TRIES = int(os.environ.get('DEX_SECOND_TRIES', '2'))  # 0 shows what a first failure was
FEW_THREADS = 25
FIRST_DOMAIN, DOMAINS = 60, 40  # 0 to 101 are safe on Linux; the low ones are people's

os.environ.setdefault('ROS_DOMAIN_ID', str(FIRST_DOMAIN + os.getpid() % DOMAINS))
os.environ.setdefault('ROS_AUTOMATIC_DISCOVERY_RANGE', 'LOCALHOST')
os.environ.setdefault('ROS_LOG_DIR', tempfile.mkdtemp(prefix='dex_test_log_'))
os.environ.setdefault('MUJOCO_GL', 'egl')
os.environ.setdefault('MPLBACKEND', 'Agg')
for name in ('FASTRTPS_DEFAULT_PROFILES_FILE', 'FASTDDS_DEFAULT_PROFILES_FILE'):
    os.environ.setdefault(name, str(ROOT / 'config' / 'dds' / 'fastdds_shm.xml'))

# tests/dex_x mirrors src/dex_x: the real package must be there first, or pytest would take the folder of its tests for it.
for package in sorted(ROOT.glob('src/dex_*/dex_*/__init__.py')):
    importlib.import_module(package.parent.name)

from dex_control.gate import Gate  # noqa: E402
from dex_core.contracts.command_spy import CommandSpy, spying  # noqa: E402
from dex_core.devices.limited import Limited  # noqa: E402
from dex_sim.plant import KinematicPlant  # noqa: E402

# Two shared cores: how long one example takes says nothing.
settings.register_profile('dex', deadline=None, max_examples=50, derandomize=True)
settings.load_profile('dex')


def missing_egl() -> str | None:
    """Why nothing can be drawn here; None when it can."""
    try:
        ctypes.CDLL('libEGL.so.1')
    except OSError as error:
        return f'no EGL on this machine ({error}): apt install libegl1 libgl1-mesa-dri'
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip drawing tests without EGL and tests of real devices unless DEX_HARDWARE is set.

    What runs processes or simulators at real time is tried again when it fails, and the summary says so: on two shared cores a
    machine that stops for a moment fails their deadlines, while a fault fails every try.
    """
    egl = missing_egl()
    for item in items:
        if item.get_closest_marker('ros') or item.path.parent.name in REAL_TIME:
            item.add_marker(pytest.mark.flaky(reruns=SECOND_TRIES, reruns_delay=1))
        if egl and item.get_closest_marker('render'):
            item.add_marker(pytest.mark.skip(reason=egl))
        if item.get_closest_marker('hardware') and not os.environ.get('DEX_HARDWARE'):
            item.add_marker(pytest.mark.skip(reason='needs a real device: set DEX_HARDWARE=1'))


@pytest.fixture(scope='session')
def repository() -> Path:
    """The root of the source tree."""
    return ROOT


@pytest.fixture(scope='session')
def command_spy() -> Iterator[CommandSpy]:
    """Looks at every command of every gate, driver and simulated joint in this process, from the first fixture to the last."""
    plants = [KinematicPlant]
    if 'dex_sim.world' in sys.modules:  # not for its sake: it loads MuJoCo
        plants.append(sys.modules['dex_sim.world'].WorldPlant)
    with spying(CommandSpy(), gates=[Gate], limited=[Limited], plants=plants) as spy:
        yield spy


@pytest.fixture(autouse=True)
def no_unsafe_command(command_spy: CommandSpy) -> Iterator[None]:
    """Fails any test in which a command was not finite, outside its range, or further from the measured joint than its step."""
    yield
    command_spy.require_safe()


@pytest.fixture(autouse=True, scope='module')
def left_over_participants() -> Iterator[None]:
    """A ROS context lives on in reference cycles, with its threads and sockets; dozens of them slow discovery and push file numbers beyond select."""
    yield
    gc.unfreeze()
    if len(os.listdir('/proc/self/task')) > FEW_THREADS:
        gc.collect()


@pytest.fixture(autouse=True)
def short_collections(request: pytest.FixtureRequest) -> None:
    """Real-time tests share this process with all that earlier tests left: the collector would stop their threads for half a second to look at it.

    So it looks at nothing older than the module's first real-time test, and once, before each, at what the one before left.
    """
    if request.node.get_closest_marker('flaky'):
        if gc.get_freeze_count():
            gc.collect()
        gc.freeze()
