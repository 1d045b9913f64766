# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_ros."""
from setuptools import find_packages, setup

package = 'dex_ros'

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
    description='The glue between the core and ROS: conversions, QoS, names, diagnostics and the node main.',
    license='Apache-2.0',
    entry_points={
        'dex.arms': [
            'ros2_control = dex_ros.ros2_control:Ros2ControlDriver',
        ],
        'dex.hands': [
            'ros2_control = dex_ros.ros2_control:Ros2ControlDriver',
        ],
    },
)
