# SPDX-License-Identifier: Apache-2.0
"""Cell + arguments -> processes: one list, checked arguments, nothing real by default."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from xml.etree import ElementTree

import pytest
import yaml

from dex_bringup.arguments import check_arguments, declared_arguments, parse_addresses
from dex_bringup.resolve import new_run_folder, resolve
from dex_core.config import PolicyServerConfig, find_share, load_cell
from dex_core.errors import ConfigError

REAL = "left_arm=10.0.0.1,right_arm=10.0.0.2,left_hand=10.0.0.3:6000,right_hand=10.0.0.4:6000"
EXPECTED = {
    "sim": "dex_sim/sim_node", "left_arm": "dex_arms/arm_node", "right_arm": "dex_arms/arm_node", "left_hand": "dex_hands/hand_node",
    "right_hand": "dex_hands/hand_node", "gate": "dex_control/gate_node", "left_decoder": "dex_decode/decoder_node",
    "right_decoder": "dex_decode/decoder_node", "policy": "dex_policy/policy_node", "task": "dex_policy/task_node",
    "camera": "dex_perception/camera_node", "state": "dex_monitor/state_node",
}


def real_cell(tmp_path: Path) -> Path:
    data = yaml.safe_load(find_share("config", "cells", "xarm_bimanual.yaml").read_text())
    data["cameras"]["front"]["driver"] = "realsense"
    path = tmp_path / "real.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_default_list(tmp_path: Path) -> None:
    resolution = resolve(run_folder=tmp_path)
    assert {p.name: f"{p.package}/{p.executable}" for p in resolution.processes} == EXPECTED
    assert load_cell(resolution.cell_file) == resolution.cell
    assert all(p.parameters["cell_file"] == str(tmp_path / "cell.yaml") for p in resolution.processes)
    assert [p.name for p in resolution.processes if p.essential] == ["sim", "gate"]


def test_interfaces_reach_drivers_and_decoders(tmp_path: Path) -> None:
    given = {p.name: p.parameters.get("interface") for p in resolve(run_folder=tmp_path).processes}
    assert given["left_hand"] == "left_hand" and given["left_decoder"] == "left_hand"
    assert given["right_arm"] == "right_arm" and given["gate"] is None


def test_options_add_and_remove(tmp_path: Path) -> None:
    names = {p.name for p in resolve(arguments={"record": "true", "monitor": "false"}, run_folder=tmp_path).processes}
    assert "recorder" in names and "state" not in names


def test_a_schedule_is_chosen_by_name(tmp_path: Path) -> None:
    assert resolve(arguments={"schedule": "real_time"}, run_folder=tmp_path).cell.control.schedule == "real_time"
    assert load_cell(tmp_path / "cell.yaml").control.schedule == "real_time"
    assert resolve(run_folder=tmp_path).cell.control.schedule == "blending"
    with pytest.raises(ConfigError, match="schedule is 'smooth'; allowed"):
        resolve(arguments={"schedule": "smooth"}, run_folder=tmp_path)


def test_stop_order_has_the_task_before_the_gate_before_the_drivers(tmp_path: Path) -> None:
    stage = {p.name: p.stop_stage for p in resolve(arguments={"record": "true"}, run_folder=tmp_path).processes}
    assert stage["task"] < stage["gate"] < stage["left_arm"] < stage["sim"] < stage["recorder"]


def test_description_is_frozen(tmp_path: Path) -> None:
    process = resolve(run_folder=tmp_path).processes[0]
    with pytest.raises(TypeError):
        process.parameters["cell_file"] = "x"  # type: ignore[index]


def test_namespace_reaches_every_process(tmp_path: Path) -> None:
    processes = resolve(arguments={"namespace": "/cell1/a"}, run_folder=tmp_path).processes
    assert {p.full_name for p in processes} == {f"/cell1/a/{name}" for name in EXPECTED}
    assert all("__ns:=/cell1/a" in p.ros_arguments() for p in processes)


def test_parameters_keep_their_types(tmp_path: Path) -> None:
    words = resolve(run_folder=tmp_path).process("gate").ros_arguments()
    assert "autostart:=true" in words and f"cell_file:='{tmp_path / 'cell.yaml'}'" in words


@pytest.mark.parametrize(("name", "value", "part"), [
    ("hand", "claw", "'inspire'"), ("left_hand", "claw", "same"), ("sim", "False", "['true', 'false']"), ("log_level", "loud", "debug"),
    ("seed", "-1", "whole number"), ("seed", "1e3", "whole number"), ("seed", "99999999999", "2147483647"), ("namespace", "Cell 1", "lower-case"),
    ("addresses", "left_arm:1", "interface=address"), ("colour", "red", "use_respawn"),
])
def test_wrong_argument_says_what_is_allowed(name: str, value: str, part: str) -> None:
    with pytest.raises(ConfigError) as caught:
        check_arguments({name: value})
    assert name in str(caught.value) and part in str(caught.value)


def test_unknown_cell_names_the_cells() -> None:
    with pytest.raises(ConfigError, match="xarm_bimanual"):
        resolve("xarm_trimanual")


def test_unknown_bundle_is_left_to_the_policy_node(tmp_path: Path) -> None:
    assert resolve(arguments={"bundle": "mine"}, run_folder=tmp_path).cell.policy.bundle == "mine"


def test_real_hardware_needs_addresses(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="left_arm.*right_hand.*addresses:="):
        resolve(arguments={"sim": "false"}, run_folder=tmp_path)
    assert not (tmp_path / "cell.yaml").exists()


def test_real_hardware_needs_a_real_camera(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match="driver 'simulated'"):
        resolve(arguments={"sim": "false", "addresses": REAL}, run_folder=tmp_path)


def test_a_hand_that_has_no_driver_is_not_started(tmp_path: Path) -> None:
    arguments = {"right_hand": "shadow", "sim": "false", "addresses": REAL}
    with pytest.raises(ConfigError, match="right_hand .* needs the hand driver 'shadow_ethercat', which there is not; there is: .*'inspire_modbus'"):
        resolve(real_cell(tmp_path), arguments, tmp_path)
    assert not (tmp_path / "cell.yaml").exists()


def test_real_hardware_with_addresses(tmp_path: Path) -> None:
    resolution = resolve(real_cell(tmp_path), {"sim": "false", "addresses": REAL}, tmp_path)
    assert "sim" not in {p.name for p in resolution.processes}
    assert load_cell(resolution.cell_file).address_of("left_hand") == "10.0.0.3:6000"


def test_address_of_an_unknown_interface() -> None:
    with pytest.raises(ConfigError, match="no interface 'tail'"):
        resolve(arguments={"addresses": "tail=1.2.3.4"})


def transports(file: str) -> set[str]:
    """Types of the transports in a Fast DDS profile."""
    return {element.text or "" for element in ElementTree.parse(file).iter() if element.tag.endswith("}type")}


def test_the_control_path_shares_no_lock_with_other_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", str(find_share("config", "dds", "fastdds_shm.xml")))  # as a process of a cell inherits it
    files = {p.name: p.env["FASTDDS_DEFAULT_PROFILES_FILE"] for p in resolve(run_folder=tmp_path).processes}
    pictures = {"camera", "policy", "state"}
    assert all(transports(files[name]) == {"SHM", "UDPv4"} for name in pictures)
    assert all(transports(file) == {"UDPv4"} for name, file in files.items() if name not in pictures)


def test_a_transport_of_the_users_own_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FASTDDS_DEFAULT_PROFILES_FILE", "/etc/mine.xml")
    processes = resolve(run_folder=tmp_path).processes
    assert {p.env[f"FAST{kind}_DEFAULT_PROFILES_FILE"] for p in processes for kind in ("DDS", "RTPS")} == {"/etc/mine.xml"}


def test_parse_addresses() -> None:
    assert parse_addresses(" left_arm=a:1 , right_arm=b ") == {"left_arm": "a:1", "right_arm": "b"}
    assert parse_addresses("") == {}


def test_run_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DEX_RUN_DIR", raising=False)
    monkeypatch.setenv("ROS_HOME", str(tmp_path))
    first, second = new_run_folder(), new_run_folder()
    assert first != second and first.parent == tmp_path / "dex"
    monkeypatch.setenv("DEX_RUN_DIR", str(tmp_path / "mine"))
    assert new_run_folder() == tmp_path / "mine"


def test_run_folder_that_cannot_be_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("DEX_RUN_DIR", str(tmp_path / "file" / "run"))
    with pytest.raises(ConfigError, match="DEX_RUN_DIR"):
        resolve()


def test_every_argument_has_a_description_and_an_allowed_default() -> None:
    check_arguments({})
    assert all(a.description.endswith(".") for a in declared_arguments())


def test_a_policy_asked_for_by_name_brings_the_latent_space_it_was_trained_in(tmp_path: Path) -> None:
    own = resolve(run_folder=tmp_path / "own").cell.policy
    assert (own.bundle, own.latent_bundle) == ("xl_vla_tabletop", "hand_latents")
    manifest = yaml.safe_load((find_share("models", own.bundle) / "manifest.yaml").read_text())
    manifest["requires"][0]["bundle"] = "my_latents"
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "manifest.yaml").write_text(yaml.safe_dump(manifest))
    asked = resolve(arguments={"bundle": str(tmp_path / "mine")}, run_folder=tmp_path / "asked").cell.policy
    assert (asked.bundle, asked.latent_bundle) == (str(tmp_path / "mine"), "my_latents")
    assert resolve(arguments={"bundle": own.bundle}, run_folder=tmp_path / "again").cell.policy == own


def test_a_body_is_driven_by_the_arm_node_and_a_cell_without_a_policy_starts_none(tmp_path: Path) -> None:
    found = {p.name: f"{p.package}/{p.executable}" for p in resolve("g1", {}, tmp_path).processes}
    assert found["body"] == "dex_arms/arm_node" and found["left_hand"] == found["right_hand"] == "dex_hands/hand_node"
    assert not {"policy", "task"} & set(found) and {"gate", "sim", "left_decoder", "right_decoder"} <= set(found)
    assert "policy" in {p.name for p in resolve("g1", {"bundle": "xl_vla_tabletop"}, tmp_path).processes}


def test_a_policy_server_takes_the_place_of_the_cells_and_none_brings_it_home(tmp_path: Path) -> None:
    cell = load_cell("xarm_bimanual")
    own = PolicyServerConfig("grpc://127.0.0.1:8081", deadline_s=0.4)
    replace(cell, policy=replace(cell.policy, server=own)).save(tmp_path / "mine.yaml")
    asked = resolve(tmp_path / "mine.yaml", {"policy_server": "http://127.0.0.1:9"}, tmp_path / "asked")
    assert asked.cell.policy.server == replace(own, url="http://127.0.0.1:9")
    assert load_cell(asked.cell_file).policy.server == asked.cell.policy.server
    assert resolve(tmp_path / "mine.yaml", run_folder=tmp_path / "own").cell.policy.server == own
    assert resolve(tmp_path / "mine.yaml", {"policy_server": "none"}, tmp_path / "here").cell.policy.server is None
    assert resolve(arguments={"policy_server": "https://gpu.lab"}, run_folder=tmp_path / "new").cell.policy.server == PolicyServerConfig("https://gpu.lab")
    for wrong, text in (("gpu.lab", "must begin with"), ("http://10.0.0.5:8080", "insecure: true"), ("http://a:b@127.0.0.1", "token_file")):
        with pytest.raises(ConfigError, match=text):
            resolve(arguments={"policy_server": wrong}, run_folder=tmp_path / "no")


def test_what_records_does_not_yield_and_what_shows_does(tmp_path: Path) -> None:
    nice = {p.name: p.nice for p in resolve(arguments={"record": "true"}, run_folder=tmp_path).processes}
    assert nice["gate"] < nice["recorder"] < nice["state"]
