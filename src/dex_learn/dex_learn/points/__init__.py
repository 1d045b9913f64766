# SPDX-License-Identifier: Apache-2.0
"""Operators on point clouds, written so that they export to ONNX with a free batch and a free number of points."""

from dex_learn.points.export import IR_VERSION, OPSET, save_onnx, to_onnx
from dex_learn.points.gather import gather, group
from dex_learn.points.interpolation import interpolate, interpolation_weights
from dex_learn.points.neighbours import ball_query, nearest, squared_distances
from dex_learn.points.sampling import farthest_points

__all__ = [
    "IR_VERSION",
    "OPSET",
    "ball_query",
    "farthest_points",
    "gather",
    "group",
    "interpolate",
    "interpolation_weights",
    "nearest",
    "save_onnx",
    "squared_distances",
    "to_onnx",
]
