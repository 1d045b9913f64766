# SPDX-License-Identifier: Apache-2.0
"""Cell and server may start in any order: a policy node without its server tries again, and is told once."""
from __future__ import annotations

import socket
from pathlib import Path
from types import SimpleNamespace

import pytest
from rclpy.parameter import Parameter
from tests.dex_policy.remote.servers import BundleModel, HttpServer, on

from dex_policy.policy_node import PolicyNode
from dex_ros.node import ACTIVE, RETRIED_CODES, UNCONFIGURED
from dex_ros.testing import ros_domain

pytestmark = pytest.mark.ros


@pytest.fixture
def port() -> int:
    with socket.create_server(('127.0.0.1', 0)) as free:
        return free.getsockname()[1]


def test_a_server_that_comes_later_is_found(cell, local, stack, tmp_path: Path, port: int, capfd) -> None:
    changed = on(cell, SimpleNamespace(url=f'http://127.0.0.1:{port}'), connect_s=1.0)
    changed.save(tmp_path / 'cell.yaml')
    with ros_domain(56) as context:
        node = PolicyNode(context=context, parameter_overrides=[Parameter('cell_file', value=str(tmp_path / 'cell.yaml'))])
        for _ in range(3):
            node.autostart()
            assert node.state_id == UNCONFIGURED and node.heartbeat.reason == 'policy_lost' and node.heartbeat.reason in RETRIED_CODES
        told = capfd.readouterr().err
        assert told.count('configure failed [policy_lost]') == 1 and str(port) in told and 'tried again' in told
        server = HttpServer(BundleModel(local[1]), port)
        stack.callback(server.stop)
        node.autostart()
        assert node.state_id == ACTIVE and node.heartbeat.reason == ''
        node.trigger_deactivate()


def test_a_server_of_something_else_is_refused_at_once(cell, local, stack, tmp_path: Path) -> None:
    model = BundleModel(local[1])
    model.hash = model.version = 'b' * 64
    server = HttpServer(model)
    stack.callback(server.stop)
    on(cell, server).save(tmp_path / 'cell.yaml')
    with ros_domain(56) as context:
        node = PolicyNode(context=context, parameter_overrides=[Parameter('cell_file', value=str(tmp_path / 'cell.yaml'))])
        node.autostart()
        assert node.state_id == UNCONFIGURED and node.heartbeat.reason == 'remote_mismatch' and node.heartbeat.reason not in RETRIED_CODES
