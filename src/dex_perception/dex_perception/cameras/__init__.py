# SPDX-License-Identifier: Apache-2.0
"""Camera drivers, one per file or family; each implements dex_core.devices.camera.Camera and is found by its entry point."""
