# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnxruntime as ort
import pytest

from dex_core.errors import BundleError
from dex_core.runtime import PROVIDERS, OnnxSession, Settings, choose_provider, provider_chain, providers

HERE = ort.get_available_providers()


@pytest.fixture()
def everything(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: list(PROVIDERS.values()))


def test_auto_takes_cuda_and_never_tensorrt(everything: None) -> None:
    assert choose_provider("auto", ("cpu", "cuda", "tensorrt")) == "cuda"
    assert choose_provider("auto", ("cpu",)) == "cpu"
    assert choose_provider("tensorrt", ("cpu", "tensorrt")) == "tensorrt"
    for wanted, allowed in (("auto", ("tensorrt",)), ("cuda", ("cpu",)), ("tensorrt", ("cpu", "cuda"))):
        with pytest.raises(BundleError, match="manifest allows") as caught:
            choose_provider(wanted, allowed)
        assert caught.value.code == "provider_missing"


def test_what_is_not_here_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(providers.ort, "get_available_providers", lambda: ["CPUExecutionProvider"])
    with pytest.raises(BundleError, match=r"this machine has \['cpu'\]"):
        choose_provider("tensorrt", ("cpu", "tensorrt"))


def test_tensorrt_keeps_its_engines_and_falls_back_in_order() -> None:
    chain = provider_chain(Settings("tensorrt", engine_cache="/tmp/engines", fp16=True))
    assert [name for name, _ in chain] == [PROVIDERS[k] for k in ("tensorrt", "cuda", "cpu")]
    options = chain[0][1]
    assert options["trt_fp16_enable"] is True and options["trt_engine_cache_enable"] is True
    assert options["trt_engine_cache_path"] == options["trt_timing_cache_path"] == "/tmp/engines"
    plain = provider_chain(Settings("tensorrt"))[0][1]
    assert plain["trt_fp16_enable"] is False and not [key for key in plain if "cache" in key]


def test_cuda_picks_the_same_algorithms_each_start() -> None:
    (name, options), (last, _) = provider_chain(Settings("cuda"))
    assert (name, last) == (PROVIDERS["cuda"], PROVIDERS["cpu"]) and options["cudnn_conv_algo_search"] == "HEURISTIC"
    assert provider_chain(Settings()) == [(PROVIDERS["cpu"], {})]


@pytest.mark.parametrize("provider", ["cuda", "tensorrt"])
@pytest.mark.parametrize("bound", [False, True])
def test_a_gpu_gives_what_the_cpu_gives(opened: Callable[..., OnnxSession], provider: str, bound: bool) -> None:
    if PROVIDERS[provider] not in HERE:
        pytest.skip(f"onnxruntime on this machine has no {PROVIDERS[provider]}: it needs onnxruntime-gpu and a GPU")
    given = {"x": np.random.default_rng(0).standard_normal((5, 8)).astype(np.float32)}
    session = opened(provider=provider, bound=bound)
    for _ in range(3):
        assert np.allclose(session.run(given)["y"], opened().run(given)["y"], atol=1e-5)
