# SPDX-License-Identifier: Apache-2.0
"""What a device driver promises, the limits wrapped around each, and shipped fakes."""
