# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_policy."""
from setuptools import find_packages, setup

package = 'dex_policy'

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
    description='The policy server: exported bundles, observations, action chunks and the task action.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'policy_node = dex_policy.policy_node:main',
            'task_node = dex_policy.task_node:main',
        ],
    },
)
