# SPDX-License-Identifier: Apache-2.0
"""Imported by MLServer in its own process: the runtime, with a model that fails as a device that is lost, for as long as a file is there."""
from __future__ import annotations

from pathlib import Path

from dex_policy.remote import mlserver_runtime

mlserver_runtime.RETRY_S = 0.2


class FailingRuntime(mlserver_runtime.DexRuntime):
    """``<its folder>/broken`` breaks it; no path of the product leads here."""

    async def load(self) -> bool:
        ready = await super().load()
        if ready:
            broken, run = Path(str(self.settings._source)).parent / 'broken', self._session.run

            def fail_or_run(inputs):
                if broken.exists():
                    raise MemoryError('CUDA out of memory')
                return run(inputs)

            self._session.run = fail_or_run
        return ready
