# SPDX-License-Identifier: Apache-2.0
"""What the numbers of a token slice are: ids of a tokenizer, in ranges that stand for codes of a codebook."""

from __future__ import annotations

from dataclasses import dataclass, field

from dex_core.config.strict import bounded


@dataclass(frozen=True)
class TokenSpec:
    """Ids of a policy that answers in tokens.

    Attributes:
        vocabulary: ids there are.
        ranges: name -> first and last id of it. codes: name -> how many codes the codebook behind it has.
        special: name -> one id, e.g. the one an answer begins with.
        layout: name of a range -> how many of it an answer holds; together the width of each token slice.
        tokenizer, tokenizer_sha256: file of the bundle and the hash it had in training; both or none.
    """

    vocabulary: int = bounded(1, 1 << 24)
    ranges: dict[str, tuple[int, int]] = field(default_factory=dict)
    codes: dict[str, int] = field(default_factory=dict)
    layout: dict[str, int] = field(default_factory=dict)
    special: dict[str, int] = field(default_factory=dict)
    tokenizer: str = ""
    tokenizer_sha256: str = ""
