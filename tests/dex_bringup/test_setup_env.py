# SPDX-License-Identifier: Apache-2.0
"""The set-up notices what is missing, changed or half made, and its mend changes nothing the second time."""
from __future__ import annotations

import re
import sys
from pathlib import Path

import pytest

from dex_bringup.setup_env import interfaces, mend, stamp, system, wheels
from dex_bringup.setup_env.shell import Console, SetupError, clean_environment, run

BUILDER_TEXT = (
    'set(includes "/opt/python/cp312-cp312/include/python3.12" '
    '"/opt/python/cp312-cp312/lib/python3.12/site-packages/numpy/_core/include")\n/opt/python/cp312-cp312\n')


def make_wheel(site: Path, name: str, files: dict[str, str]) -> None:
    """An installed wheel: its files, and the record that lists them with their sizes."""
    info = site / f'{name}-1.0.dist-info'
    info.mkdir(parents=True)
    for path, text in files.items():
        (site / path).parent.mkdir(parents=True, exist_ok=True)
        (site / path).write_text(text)
    rows = [f'{path},sha256=x,{len(text)}' for path, text in files.items()]
    (info / 'RECORD').write_text('\n'.join([*rows, f'{info.name}/RECORD,,', f'{name}/__pycache__/a.pyc,,']) + '\n')


def test_mend_rewrites_once_and_then_nothing(tmp_path: Path) -> None:
    cmake = tmp_path / 'share' / 'std_msgs' / 'cmake' / 'export.cmake'
    cmake.parent.mkdir(parents=True)
    cmake.write_text(BUILDER_TEXT)
    (tmp_path / 'share' / 'other.txt').write_text('left alone')
    assert mend.mend(tmp_path / 'share', '/py/include', '/np/include', '/prefix') == 1
    assert cmake.read_text() == 'set(includes "/py/include" "/np/include")\n/prefix\n'
    assert mend.mend(tmp_path / 'share', '/py/include', '/np/include', '/prefix') == 0


def test_mended_knows_old_numpy_and_keeps_similar_names() -> None:
    old = '/opt/python/cp310-cp310/lib/python3.10/site-packages/numpy/core/include'
    assert mend.mended(old, 'P', 'N', 'V') == 'N'
    assert mend.mended('/opt/python/cp310-cp310-extra', 'P', 'N', 'V') == '/opt/python/cp310-cp310-extra'


def test_whole_wheels_are_not_damaged(tmp_path: Path) -> None:
    make_wheel(tmp_path, 'alpha', {'alpha/__init__.py': 'one'})
    assert wheels.distributions(tmp_path) == {'alpha': '1.0'}
    assert wheels.damaged(tmp_path, {'alpha': '1.0'}) == []


@pytest.mark.parametrize('harm', ['file gone', 'file cut', 'record gone', 'all gone'])
def test_damage_is_noticed(tmp_path: Path, harm: str) -> None:
    make_wheel(tmp_path, 'alpha', {'alpha/__init__.py': 'one', 'alpha/b.py': 'two'})
    make_wheel(tmp_path, 'beta', {'beta/__init__.py': 'three'})
    if harm == 'file gone':
        (tmp_path / 'alpha/b.py').unlink()
    elif harm == 'file cut':
        (tmp_path / 'alpha/b.py').write_text('t')
    else:
        (tmp_path / 'alpha-1.0.dist-info/RECORD').unlink()
    if harm == 'all gone':
        (tmp_path / 'alpha-1.0.dist-info').rmdir()
    assert wheels.damaged(tmp_path, {'alpha': '1.0', 'beta': '1.0'}) == ['alpha==1.0']


def test_a_file_of_two_wheels_may_have_either_size(tmp_path: Path) -> None:
    make_wheel(tmp_path, 'alpha', {'shared/__init__.py': 'one'})
    make_wheel(tmp_path, 'beta', {'shared/__init__.py': 'three'})
    assert wheels.damaged(tmp_path, {'alpha': '1.0', 'beta': '1.0'}) == []


def test_leftovers_of_an_interrupted_pip_are_removed(tmp_path: Path) -> None:
    make_wheel(tmp_path, 'alpha', {'alpha/__init__.py': 'one'})
    (tmp_path / 'beta-1.0.dist-info').mkdir()
    (tmp_path / '~amma').mkdir()
    wheels.remove_unfinished(tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ['alpha', 'alpha-1.0.dist-info']


def test_stamp_round_trip_and_garbage(tmp_path: Path) -> None:
    assert stamp.read(tmp_path) == {}
    stamp.write(tmp_path, {'wheels': 'abc'})
    assert stamp.read(tmp_path) == {'wheels': 'abc'}
    for garbage in ('', '{', '[1]', '\x00'):
        (tmp_path / stamp.NAME).write_text(garbage)
        assert stamp.read(tmp_path) == {}


def test_digest_sees_content_name_and_absence(tmp_path: Path) -> None:
    one, two = tmp_path / 'one', tmp_path / 'two'
    one.write_text('x')
    first = stamp.digest([one])
    assert stamp.digest([one]) == first
    two.write_text('x')
    assert len({first, stamp.digest([two]), stamp.digest([one], 'word'), stamp.digest([tmp_path / 'none'])}) == 4
    one.write_text('y')
    assert stamp.digest([one]) != first


def test_interface_packages_are_found_and_hashed(repository: Path, tmp_path: Path) -> None:
    assert {'dex_msgs', 'tf2_msgs', 'control_msgs'} <= set(interfaces.packages(repository))
    package = tmp_path / 'src' / 'my_msgs'
    (package / 'msg').mkdir(parents=True)
    (package / 'package.xml').write_text('<package format="3"><name>my_msgs</name>'
                                         '<member_of_group>rosidl_interface_packages</member_of_group></package>')
    assert interfaces.packages(tmp_path) == {'my_msgs': package}
    before = interfaces.digest_of(package, 'wheels')
    (package / 'msg' / 'New.msg').write_text('int32 x\n')
    assert interfaces.digest_of(package, 'wheels') != before
    assert not interfaces.is_installed(tmp_path / '.venv', 'my_msgs')


def test_every_version_is_fixed(repository: Path) -> None:
    """Each requirement has exactly one version for each Python, and setuptools stays below 80."""
    lines = [line for line in (repository / 'constraints.txt').read_text().splitlines() if line and line[0] != '#']
    assert all(re.fullmatch(r'[\w.-]+==[\w.]+( ; python_version (>=|<) "3.11")?', line) for line in lines)
    pinned = {re.split('==', line)[0].lower().replace('_', '-') for line in lines}
    for name in (*wheels.REQUIREMENTS, wheels.CLIENTS, wheels.LEARN, wheels.PEERS):
        for line in (repository / name).read_text().splitlines():
            if line and line[0] != '#':
                assert re.split(r'[\[=; ]', line)[0].lower().replace('_', '-') in pinned, line
    assert 'setuptools==79.0.1' in lines


def test_foreign_environment_is_left_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv('PYTHONPATH', '/opt/ros/jazzy')
    monkeypatch.setenv('_ROS_WHEELS_BOOTSTRAP_COMPLETE', '1')
    environment = clean_environment({'MINE': 'yes'})
    assert 'PYTHONPATH' not in environment and '_ROS_WHEELS_BOOTSTRAP_COMPLETE' not in environment
    assert environment['MINE'] == 'yes' and 'PATH' in environment


def test_failed_command_shows_its_last_words(tmp_path: Path) -> None:
    log = tmp_path / 'setup.log'
    with pytest.raises(SetupError, match='ended with code 3(.|\n)*no room left'):
        run([sys.executable, '-c', 'print("no room left"); raise SystemExit(3)'], log, clean_environment(), 60.0)
    assert 'no room left' in log.read_text()


def test_a_wrong_python_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, 'version_info', (3, 8, 10))
    with pytest.raises(SetupError, match='3.10 to 3.13 is needed'):
        system.check_python()


def test_an_old_c_library_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(system.platform, 'libc_ver', lambda: ('glibc', '2.31'))
    with pytest.raises(SetupError, match='glibc 2.31 will not do, 2.34 is needed'):
        system.check_python()
    for enough in ('2.34', '2.39', '3.0'):
        monkeypatch.setattr(system.platform, 'libc_ver', lambda version=enough: ('glibc', version))
        system.check_python()


def test_what_cannot_be_installed_is_named_in_one_line(
        tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(system, 'apt_prefix', lambda: None)
    monkeypatch.setattr(system, 'missing_packages', lambda: {'libegl1': 'renders'})
    system.provide(Console(), tmp_path / 'log')
    assert 'missing: sudo apt-get install libegl1' in capsys.readouterr().out
    monkeypatch.setattr(system, 'missing_packages', lambda: {'libegl1': 'renders', 'g++': 'compiles'})
    with pytest.raises(SetupError, match='^missing: sudo apt-get install g\\+\\+ libegl1$'):
        system.provide(Console(), tmp_path / 'log')


def test_quiet_console_is_silent(capsys: pytest.CaptureFixture[str]) -> None:
    console = Console(quiet=True)
    console.say('word')
    console.progress('word')
    assert capsys.readouterr().out == ''
