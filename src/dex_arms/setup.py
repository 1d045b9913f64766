# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_arms."""
from setuptools import find_packages, setup

package = 'dex_arms'

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
    description='Arm drivers, one file each.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'arm_node = dex_arms.arm_node:main',
        ],
        'dex.arms': [
            'unitree_g1 = dex_arms.g1_node:unitree_g1',
            'franka_fci = dex_arms.franka:FrankaDriver',
            'xarm = dex_arms.xarm:XArmDriver',
        ],
    },
)
