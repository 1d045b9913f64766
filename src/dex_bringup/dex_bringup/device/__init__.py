# SPDX-License-Identifier: Apache-2.0
"""One device at a time: simulate it, read it, move one joint of it, care for it; and what the machine has for devices."""
