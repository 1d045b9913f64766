# SPDX-License-Identifier: Apache-2.0
"""ament_python build of dex_hands."""
from setuptools import find_packages, setup

package = 'dex_hands'

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
    description='Hand drivers, one file each.',
    license='Apache-2.0',
    entry_points={
        'console_scripts': [
            'hand_node = dex_hands.hand_node:main',
        ],
        'dex.hands': [
            'inspire_g1 = dex_hands.inspire_dds_node:inspire_g1',
            'ability_serial = dex_hands.ability:AbilityDriver',
            'inspire_modbus = dex_hands.inspire:InspireDriver',
            'inspire_rs485 = dex_hands.inspire:InspireDriver',
            'leap_dynamixel = dex_hands.leap:LeapDriver',
            'dexh13_sdk = dex_hands.dexh13:DexH13Driver',
            'xhand_sdk = dex_hands.xhand:XHandSdkDriver',
            'xhand_serial = dex_hands.xhand:XHandDriver',
            'simulated = dex_hands.simulated:SimulatedDriver',
        ],
    },
)
