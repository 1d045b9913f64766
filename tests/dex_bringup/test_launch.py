# SPDX-License-Identifier: Apache-2.0
"""The launch file against the real launch and launch_ros, where they are installed; its form everywhere."""

from __future__ import annotations

import ast
import threading
from pathlib import Path

import pytest

from dex_bringup.arguments import declared_arguments
from dex_bringup.process import ProcessDescription
from dex_bringup.resolve import resolve
from dex_bringup.testing import private_cell

REASON = "needs launch and launch_ros, which come with a ROS install (or as checkouts of ros2/launch and ros2/launch_ros on PYTHONPATH)"
LAUNCH_FILE = Path(__file__).resolve().parents[2] / "launch" / "xarm_bimanual.launch.py"


def test_launch_file_holds_nothing_but_the_call() -> None:
    """Arguments and processes come from resolve alone, so they cannot differ from those of dex up."""
    tree = ast.parse(LAUNCH_FILE.read_text(encoding="utf-8"))
    function = next(node for node in tree.body if isinstance(node, ast.FunctionDef))
    assert function.name == "generate_launch_description"
    calls = [node for node in ast.walk(function) if isinstance(node, ast.Call)]
    assert [ast.unparse(call) for call in calls] == ["cell_launch_description('xarm_bimanual')"]


def test_helper_declares_every_argument_of_resolve() -> None:
    source = (Path(__file__).resolve().parents[2] / "src" / "dex_bringup" / "dex_bringup" / "launching.py").read_text(encoding="utf-8")
    tree = ast.parse(source)
    assert "arguments = declared_arguments()" in source
    assert [ast.unparse(node.func) for node in ast.walk(tree) if isinstance(node, ast.Call)].count("DeclareLaunchArgument") == 1


def test_show_args_is_complete() -> None:
    pytest.importorskip("launch_ros", reason=REASON)
    from launch.launch_description_sources import get_launch_description_from_python_launch_file

    shown = {a.name: a for a in get_launch_description_from_python_launch_file(str(LAUNCH_FILE)).get_launch_arguments()}
    assert list(shown) == [a.name for a in declared_arguments()]
    for argument in declared_arguments():
        assert argument.description in shown[argument.name].description
        assert "".join(part.text for part in shown[argument.name].default_value) == argument.default
        assert tuple(shown[argument.name].choices or ()) == argument.choices


@pytest.mark.parametrize("arguments", [{}, {"record": "true", "monitor": "false", "namespace": "cell1", "log_level": "warn", "use_respawn": "false"}])
def test_actions_are_the_processes_of_resolve(tmp_path: Path, arguments: dict[str, str]) -> None:
    pytest.importorskip("launch_ros", reason=REASON)
    from launch import LaunchContext

    from dex_bringup.launching import action_of

    resolution = resolve(private_cell(tmp_path, 58, host=151), arguments, tmp_path / "run")
    for process in resolution.processes:
        action, context = action_of(process, resolution), LaunchContext()
        action._perform_substitutions(context)
        assert action.node_package == process.package and action.node_executable == process.executable
        assert action.node_name == process.full_name
        assert _started_with(action, context, process)


def _started_with(action: object, context: object, process: ProcessDescription) -> bool:
    """The parameters, environment and log level of the action are those of the process."""
    import yaml
    from launch.utilities import perform_substitutions

    files = [path for path, is_file in action._Node__expanded_parameter_arguments if is_file]
    (parameters,) = (yaml.safe_load(Path(path).read_text()) for path in files)
    assert next(iter(parameters.values()))["ros__parameters"] == dict(process.parameters)
    environment = {perform_substitutions(context, k): perform_substitutions(context, v) for k, v in action.process_description.additional_env}
    assert environment == dict(process.env)
    return process.log_level in process.ros_arguments()


@pytest.mark.ros
@pytest.mark.render
@pytest.mark.slow
def test_the_cell_starts_through_launch(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("launch_ros", reason=REASON)
    from launch import LaunchService

    from dex_bringup.launching import cell_launch_description
    from dex_bringup.supervisor import Supervisor
    from dex_core.config import load_cell
    from dex_eval.testing import fixture_cell

    monkeypatch.setenv("ROS_DOMAIN_ID", "58")
    monkeypatch.setenv("DEX_RUN_DIR", str(tmp_path / "run"))
    cell_file = tmp_path / "cell.yaml"
    fixture_cell(load_cell(private_cell(tmp_path, 58, host=171)), tmp_path).save(cell_file)
    service = LaunchService(noninteractive=True)
    service.include_launch_description(cell_launch_description(str(cell_file)))
    outcome: dict[str, object] = {}

    def watch() -> None:
        try:
            outcome["waited_s"] = _wait_active(Supervisor(resolve(cell_file, run_folder=tmp_path / "watch")))
        finally:
            service.shutdown()

    thread = threading.Thread(target=watch)
    thread.start()
    code = service.run()
    thread.join()
    assert code == 0 and float(outcome["waited_s"]) > 0.0  # type: ignore[arg-type]


def _wait_active(observer: object) -> float:
    """Waits by heartbeats, as dex up does, for processes that launch started."""
    observer._refuse_strangers = lambda _node, _pid: None
    try:
        return observer.wait_active(60.0)
    finally:
        observer._client.close()
