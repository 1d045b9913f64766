# SPDX-License-Identifier: Apache-2.0
"""Every reason for which there is no object, or not the one that was hoped for; each with its sentence for /diagnostics and the docs."""

from __future__ import annotations

from dex_core.errors import DexError

PICTURE = {
    "camera_lost": "no colour picture comes",
    "depth_missing": "colour comes, but no depth close enough in time",
    "camera_info_missing": "no camera_info of the depth came",
    "image_encoding": "the colour or depth picture has an encoding that is not read here",
    "image_size": "colour, depth and camera_info have different sizes",
    "image_blank": "the colour picture is black, white or one colour",
    "camera_frozen": "the same pixels come again and again",
    "image_late": "the picture is older than max_age_s",
    "image_future": "the picture's stamp lies in the future",
    "depth_empty": "hardly any pixel has a depth",
    "tf_missing": "no transform leads from the camera to the world frame",
    "tf_future": "the picture is newer than the newest transform",
    "tf_old": "the picture is older than the oldest transform",
    "frame_wrong": "colour and depth name different frames, or none",
    "qos_incompatible": "a publisher's QoS makes it unheard",
}
"""About the picture: nothing was looked for."""

TARGET = {
    "no_target": "looked, and nothing is there",
    "low_confidence": "a mask came out, and is not trusted",
    "prompt_outside": "a click lies outside the picture or the workspace",
    "prompt_no_depth": "no depth is known where the click points",
    "text_unknown": "none of the words is known",
    "text_unmatched": "nothing in view fits the words",
    "text_ambiguous": "several things in view fit the words equally well",
    "no_text_model": "words came, but the cell has neither detector nor picker",
    "lost": "what was followed is not where it could be",
    "expired": "the result has become too old and is withdrawn",
    "segmenter_failed": "the model gave an error",
}
"""About the target: declared 'no target'."""

NOTES = {"over_budget": "later than the budget, still younger than max_age_s; it is not completed"}
"""Said beside a result that stands."""

ENDINGS = {
    "prompt_invalid": "the goal itself is wrong",
    "cancelled": "the client or ~/cancel asked for it",
    "preempted": "another goal took over",
    "inactive": "the node was deactivated",
}


class PictureError(DexError):
    """A picture is not used. ``code`` is a key of ``PICTURE``."""


class NoTarget(DexError):
    """There is no object to be given. ``code`` is a key of ``TARGET``."""


class PromptError(DexError):
    """The prompt of a goal is wrong: says which part and what is allowed."""

    code = "prompt_invalid"
