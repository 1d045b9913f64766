# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_perception."""
from setuptools import find_packages, setup

package = 'dex_perception'

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
    description='Cameras: devices behind one protocol and the node that publishes their pictures.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'camera_node = dex_perception.camera_node:main',
            'segmentation_node = dex_perception.segmentation_node:main',
        ],
        'dex.cameras': [
            'bag = dex_perception.cameras.bag:BagCamera',
            'pattern = dex_perception.cameras.pattern:PatternCamera',
            'realsense = dex_perception.cameras.realsense:RealSenseCamera',
            'uvc = dex_perception.cameras.uvc:UvcCamera',
            'zed = dex_perception.cameras.zed:ZedCamera',
        ],
    },
)
