# SPDX-License-Identifier: Apache-2.0
"""Recording, replay without a robot, metrics and reports."""
