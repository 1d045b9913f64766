# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_sim."""
from setuptools import find_packages, setup

package = 'dex_sim'

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
    description="The MuJoCo cell and the simulators of its devices, which speak the vendors' protocols on loopback.",
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'fault_node = dex_sim.fault_node:main',
            'sim_node = dex_sim.sim_node:main',
        ],
        'dex.cameras': [
            'simulated = dex_sim.camera:SimulatedCamera',
        ],
    },
)
