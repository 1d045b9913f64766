# SPDX-License-Identifier: Apache-2.0
"""Tests to inherit: one class per Protocol and one for every hand, run on the fake, on the simulator and, marked, on hardware."""
