# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, and what every module promises: header, grammar of Python 3.10, names that exist."""
from __future__ import annotations

import ast
import importlib
import importlib.metadata
import importlib.util
from functools import lru_cache
from pathlib import Path
from xml.etree import ElementTree

import pytest

SRC = Path(__file__).resolve().parents[1] / 'src'
PACKAGES = tuple(sorted(path.parent.name for path in SRC.glob('dex_*/setup.py')))
MODULES = tuple(sorted(path for name in PACKAGES for path in (SRC / name / name).rglob('*.py')))
NODE_PACKAGES = ('dex_perception', 'dex_policy', 'dex_decode', 'dex_control', 'dex_hands', 'dex_arms', 'dex_sim', 'dex_monitor')
TOOLS = ('dex_eval', 'dex_learn', 'dex_bringup')
MESSAGES = {'std_srvs', 'builtin_interfaces', 'rcl_interfaces', 'rosgraph_msgs', 'control_msgs', 'tf2_msgs', 'dex_msgs',
            'std_msgs', 'sensor_msgs', 'geometry_msgs', 'trajectory_msgs', 'visualization_msgs', 'diagnostic_msgs', 'unitree_hg', 'unitree_go',
            'lifecycle_msgs', 'action_msgs', 'unique_identifier_msgs', 'nav_msgs', 'shape_msgs'}
ROS = MESSAGES | {'rclpy', 'rpyutils', 'ament_index_python', 'tf2_ros', 'launch', 'launch_ros', 'rosidl_runtime_py', 'rosbag2_py'}
NEWER_THAN_3_10 = {('tomllib', ''), ('typing', 'Self'), ('typing', 'assert_never'), ('typing', 'override'), ('enum', 'StrEnum'),
                   ('datetime', 'UTC'), ('asyncio', 'timeout'), ('asyncio', 'TaskGroup'), ('itertools', 'batched')}
ROSDEP = {'numpy': 'python3-numpy', 'yaml': 'python3-yaml', 'cv2': 'python3-opencv', 'serial': 'python3-serial', 'PIL': 'python3-pil',
          'matplotlib': 'python3-matplotlib', 'psutil': 'python3-psutil', 'rich': 'python3-rich', 'pymodbus': 'python3-pymodbus',
          'mujoco': 'python3-mujoco-pip', 'onnxruntime': 'python3-onnxruntime-pip', 'rosbags': 'python3-rosbags-pip',
          'mcap_ros2': 'mcap-ros2-support', 'pinocchio': 'pinocchio'}  # not torch: an extra that only dex_learn needs, see requirements-learn.txt
# Which other packages of the stack each package may name. The device registry's entry points are the way round.
ALLOWED = {
    'dex_core': set(),
    'dex_description': {'dex_core'},
    'dex_ros': {'dex_core', 'dex_msgs'},
    **{name: {'dex_core', 'dex_ros', 'dex_msgs', 'dex_description'} for name in NODE_PACKAGES},
    **{name: set(PACKAGES) | {'dex_msgs'} for name in TOOLS},
}


def name_of(path: Path) -> str:
    """`dex_core/dex_core/limits/base.py` -> `dex_core.limits.base`."""
    parts = path.relative_to(SRC).with_suffix('').parts[1:]
    return '.'.join(parts[:-1] if parts[-1] == '__init__' else parts)


@lru_cache(maxsize=None)
def tree_of(path: Path) -> ast.Module:
    """Syntax tree of one module, in the grammar of the oldest Python."""
    return ast.parse(path.read_text(encoding='utf-8'), str(path), feature_version=(3, 10))


def imports_of(path: Path) -> set[tuple[str, str]]:
    """(module, name) of every absolute import, at any depth."""
    found = set()
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            found |= {(alias.name, '') for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            found |= {(node.module or '', alias.name) for alias in node.names}
    return found


def roots_of(path: Path) -> set[str]:
    """Top-level packages that one module imports."""
    return {module.split('.')[0] for module, _ in imports_of(path)}


def is_node_file(path: Path) -> bool:
    """Whether a module of a node package may know ROS."""
    return path.stem.endswith('_node')


@pytest.mark.parametrize('path', MODULES, ids=name_of)
def test_module_keeps_the_rules(path: Path) -> None:
    """Header on line 1, nothing newer than Python 3.10, and only allowed packages."""
    package, module = path.relative_to(SRC).parts[0], name_of(path)
    with path.open(encoding='utf-8') as text:
        assert text.readline().strip() == '# SPDX-License-Identifier: Apache-2.0', f'{module}: line 1 is the SPDX header'
    imported = imports_of(path)
    newer = imported & NEWER_THAN_3_10 | {entry for entry in imported if entry[0] == 'tomllib'}
    assert not newer, f'{module} uses {newer}, which Python 3.10 lacks'
    others = {root for root in roots_of(path) if root.startswith('dex_')} - {package}
    assert others <= ALLOWED[package], f'{module} may not import {sorted(others - ALLOWED[package])}'
    assert 'tests' not in roots_of(path), f'{module} imports tests'
    if package != 'dex_learn':
        assert not roots_of(path) & {'torch', 'onnxscript'}, f'{module}: only dex_learn may import torch'


@pytest.mark.parametrize('path', [path for path in MODULES if path.relative_to(SRC).parts[0] in ('dex_core', 'dex_description')],
                         ids=name_of)
def test_core_knows_no_ros(path: Path) -> None:
    """The core and the descriptions run where no ROS is."""
    assert not roots_of(path) & ROS, f'{name_of(path)} imports {sorted(roots_of(path) & ROS)}'


@pytest.mark.parametrize('path', [path for path in MODULES if path.relative_to(SRC).parts[0] in NODE_PACKAGES
                                  and not is_node_file(path)], ids=name_of)
def test_only_node_files_know_ros(path: Path) -> None:
    """Drivers, simulators and decoders run from a plain script; `*_node.py` is the shell around them."""
    known = roots_of(path) & (ROS | {'dex_ros'})
    assert not known, f'{name_of(path)} imports {sorted(known)}; move it to a *_node.py'


@pytest.mark.parametrize('package', PACKAGES)
def test_package_xml_names_what_is_imported(package: str) -> None:
    """Every ROS package and every module with a rosdep key that the code imports is a dependency."""
    declared = {element.text for element in ElementTree.parse(SRC / package / 'package.xml').iter() if element.tag.endswith('depend')}
    used = {root for path in MODULES if path.relative_to(SRC).parts[0] == package for root in roots_of(path)} - {package}
    needed = {ROSDEP.get(root, root) for root in used if root in ROSDEP or root in ROS or root.startswith('dex_')}
    assert needed <= declared, f'{package}/package.xml lacks {sorted(needed - declared)}'


def declared_names(path: Path) -> list[str]:
    """The names in a module's `__all__`; empty when it has none."""
    for node in tree_of(path).body:
        if isinstance(node, ast.Assign) and any(isinstance(target, ast.Name) and target.id == '__all__' for target in node.targets):
            return [ast.literal_eval(element) for element in getattr(node.value, 'elts', [])]
    return []


@pytest.mark.parametrize('path', [path for path in MODULES if declared_names(path)], ids=name_of)
def test_every_promised_name_exists(path: Path) -> None:
    """Each name in `__all__` can be imported, and none is there twice."""
    if 'dex_learn' in path.parts:
        pytest.importorskip('torch', reason='dex_learn needs torch: pip install torch==2.13.0')
    names = declared_names(path)
    assert len(names) == len(set(names))
    module = importlib.import_module(name_of(path))
    assert not [name for name in names if not hasattr(module, name)]


@pytest.mark.parametrize('package', PACKAGES)
def test_entry_points_resolve(package: str) -> None:
    """Every executable and device that a package announces exists."""
    for entry in importlib.metadata.distribution(package).entry_points:
        module, _, attribute = entry.value.partition(':')
        found = importlib.util.find_spec(module)
        assert found and found.origin, f'{package}: {entry.name} = {entry.value}: no such module'
        defined = {node.name for node in tree_of(Path(found.origin)).body if isinstance(node, (ast.FunctionDef, ast.ClassDef))}
        imported = {name for _, name in imports_of(Path(found.origin))}
        assert attribute in defined | imported, f'{package}: {entry.name} = {entry.value}: no such name'


def test_every_package_is_installed_in_place() -> None:
    """The environment runs the sources of this tree, not a copy."""
    for package in PACKAGES:
        spec = importlib.util.find_spec(package)
        assert spec and spec.origin and Path(spec.origin).resolve().is_relative_to(SRC), package
