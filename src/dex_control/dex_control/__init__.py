# SPDX-License-Identifier: Apache-2.0
"""The gate: schedules chunks, applies limits, watches heartbeats, sole publisher of commands."""
