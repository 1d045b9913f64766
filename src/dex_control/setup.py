# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_control."""
from setuptools import find_packages, setup

package = 'dex_control'

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
    description='The gate: schedules chunks, applies limits, watches heartbeats, sole publisher of commands.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'gate_node = dex_control.gate_node:main',
        ],
    },
)
