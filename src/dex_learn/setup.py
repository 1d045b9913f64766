# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_learn."""
from setuptools import find_packages, setup

package = 'dex_learn'

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
    description='Demonstrations, training and export of the models; the only package that uses torch.',
    license='Apache-2.0',
)
