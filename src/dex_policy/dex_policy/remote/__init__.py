# SPDX-License-Identifier: Apache-2.0
"""Policies whose graphs run on a server of the Open Inference Protocol, and what such a server is given to run them.

``policy.open_remote`` is the robot's side, ``repository`` and ``serve`` write what a server needs, and ``mlserver_runtime`` runs inside of one.
Nothing is imported here: the server's environment holds neither kinematics nor what the robot's side needs.
"""
