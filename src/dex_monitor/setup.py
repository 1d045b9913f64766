# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_monitor."""
from setuptools import find_packages, setup

package = 'dex_monitor'

setup(
    name=package,
    version='0.1.0',
    packages=find_packages(include=[package, package + '.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package]),
        ('share/' + package, ['package.xml']),
    ],
    package_data={package: ['py.typed']},
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Dex stack maintainers',
    maintainer_email='maintainers@dex-stack.dev',
    description='The state of the cell for people: robot description, TF, merged joint states, markers.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'state_node = dex_monitor.state_node:main',
        ],
    },
)
