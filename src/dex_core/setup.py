# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_core."""
from setuptools import find_packages, setup

package = 'dex_core'

setup(
    name=package,
    version='0.1.0',
    packages=find_packages(include=[package, package + '.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', ['resource/' + package]),
        ('share/' + package, ['package.xml']),
    ],
    package_data={package: ['py.typed'], package + '.kinematics.kernel': ['*.c', '*.h'], package + '.clouds.kernel': ['*.c', '*.h']},
    install_requires=['setuptools'],
    zip_safe=False,
    maintainer='Dex stack maintainers',
    maintainer_email='maintainers@dex-stack.dev',
    description='Types, configuration, kinematics, limits and safety rules of the stack; pure Python, without ROS.',
    license='Apache-2.0',
)
