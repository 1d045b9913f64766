# SPDX-License-Identifier: Apache-2.0
"""Ranges of token ids do not meet, have the sizes of their codebooks, and fill an answer exactly."""

from __future__ import annotations

from dex_core.bundle.manifest import Manifest, TokenSpec
from dex_core.errors import BundleError


def check_tokens(manifest: Manifest) -> str:
    """Token ids against codebooks, slices and tokenizer. Raises BundleError ``tokens_invalid`` with both values."""
    spec = manifest.tokens
    slices = [s for g in manifest.graphs.values() for t in (*g.inputs, *g.outputs) for s in t.slices if s.space == "token"]
    if spec is None:
        if slices:
            raise _fail(f"slice of {slices[0].interface!r} holds tokens, and the manifest has no key 'tokens'")
        return "none"
    _check_ids(spec)
    for name, codes in spec.codes.items():
        first, last = spec.ranges.get(name, (0, -1))
        if last - first + 1 != codes:
            raise _fail(f"range {name!r} has {last - first + 1} ids, its codebook {codes} codes")
    unknown = sorted(set(spec.layout) - set(spec.ranges))
    if unknown:
        raise _fail(f"layout names {unknown[0]!r}; there are the ranges {sorted(spec.ranges)}")
    for s in slices:
        if s.width != sum(spec.layout.values()):
            raise _fail(f"slice of {s.interface!r} has {s.width} columns, the layout {spec.layout} holds {sum(spec.layout.values())}")
    _check_tokenizer(manifest, spec)
    return f"{len(spec.ranges)} ranges of {spec.vocabulary} ids, {sum(spec.layout.values())} tokens an answer"


def _check_ids(spec: TokenSpec) -> None:
    taken = sorted([(first, last, name) for name, (first, last) in spec.ranges.items()] + [(i, i, name) for name, i in spec.special.items()])
    for first, last, name in taken:
        if not 0 <= first <= last < spec.vocabulary:
            raise _fail(f"{name!r} is {first} to {last}; allowed: rising, 0 to {spec.vocabulary - 1}")
    for (_, end, before), (start, _, after) in zip(taken, taken[1:], strict=False):
        if start <= end:
            raise _fail(f"{before!r} ends at {end} and {after!r} begins at {start}; they may not overlap")


def _check_tokenizer(manifest: Manifest, spec: TokenSpec) -> None:
    if bool(spec.tokenizer) != bool(spec.tokenizer_sha256):
        raise _fail(f"tokenizer {spec.tokenizer!r} and tokenizer_sha256 {spec.tokenizer_sha256!r} go together")
    found = manifest.files[spec.tokenizer].sha256 if spec.tokenizer else ""
    if found != spec.tokenizer_sha256:
        raise _fail(f"{spec.tokenizer} has sha256 {found}, the policy was trained with {spec.tokenizer_sha256}")


def _fail(message: str) -> BundleError:
    return BundleError(f"tokens: {message}", code="tokens_invalid")
