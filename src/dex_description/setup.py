# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_description."""
from pathlib import Path

from setuptools import find_packages, setup

package = 'dex_description'


def tree(folder):
    """Every file below one folder, each with the share folder it is installed to."""
    parents = sorted({path.parent for path in Path(folder).glob('**/*') if path.is_file() and '__pycache__' not in path.parts})
    return [(f'share/{package}/{parent}', sorted(str(path) for path in parent.iterdir() if path.is_file())) for parent in parents]


shared = [entry for folder in ('urdf', 'rviz') for entry in tree(folder)]

setup(
    name=package,
    version='0.1.0',
    packages=find_packages(include=[package, package + '.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package]),
        ('share/' + package, ['package.xml']),
        *shared,
    ],
    package_data={package: ['py.typed']},
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Dex stack maintainers',
    maintainer_email='maintainers@dex-stack.dev',
    description='Robot descriptions of hands, arms, mounts and cells with primitive geometry, and the RViz configuration.',
    license='Apache-2.0',
)
