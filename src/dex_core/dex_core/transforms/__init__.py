# SPDX-License-Identifier: Apache-2.0
"""Transforms between what is measured or commanded and what networks take and give; training, live cell and replay share them."""

from dex_core.transforms.base import Chain, NotInvertible, Transform, from_plain, to_plain
from dex_core.transforms.deltas import DELTAS, DeltaToObservation, DeltaToPrevious, PoseDelta
from dex_core.transforms.inputs import Sliced, picture_input, tensor_normaliser
from dex_core.transforms.joints import JointMap
from dex_core.transforms.pictures import ChannelsFirst, Crop, Pad, PixelValues, Placing, Resize, SwapChannels
from dex_core.transforms.rotations import PoseColumns, Rot6d
from dex_core.transforms.scaling import Range, Unchanged, ZScore, normaliser

KINDS: dict[str, type] = {
    "channels_first": ChannelsFirst, "crop": Crop, "joints": JointMap, "pad": Pad, "pixels": PixelValues, "pose_columns": PoseColumns,
    "range": Range, "resize": Resize, "rot6d": Rot6d, "swap_channels": SwapChannels, "unchanged": Unchanged, "zscore": ZScore,
}
"""What a manifest may hold, by name; differences to what was measured are made anew for each observation and are not among them."""

__all__ = [
    "DELTAS", "KINDS", "Chain", "ChannelsFirst", "Crop", "DeltaToObservation", "DeltaToPrevious", "JointMap", "NotInvertible", "Pad",
    "PixelValues", "Placing", "PoseColumns", "PoseDelta", "Range", "Resize", "Rot6d", "Sliced", "SwapChannels", "Transform", "Unchanged",
    "ZScore", "from_plain", "normaliser", "picture_input", "tensor_normaliser", "to_plain",
]
