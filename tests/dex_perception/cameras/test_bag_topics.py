# SPDX-License-Identifier: Apache-2.0
"""Which topics are one camera's, for the names of both common drivers and of this stack."""
from __future__ import annotations

import pytest

from dex_core.errors import ConfigError, DeviceError
from dex_perception.cameras.bag_topics import COMPRESSED, IMAGE, INFO, BagTopics, choose_topics

REALSENSE = {
    "/camera/camera/color/image_raw": IMAGE, "/camera/camera/color/image_raw/compressed": COMPRESSED, "/camera/camera/color/camera_info": INFO,
    "/camera/camera/depth/image_rect_raw": IMAGE, "/camera/camera/depth/camera_info": INFO,
    "/camera/camera/aligned_depth_to_color/image_raw": IMAGE, "/camera/camera/aligned_depth_to_color/camera_info": INFO,
    "/camera/camera/infra1/image_rect_raw": IMAGE, "/tf": "tf2_msgs/msg/TFMessage",
}
ZED = {
    "/zed/zed_node/rgb/color/rect/image": IMAGE, "/zed/zed_node/rgb/color/rect/camera_info": INFO,
    "/zed/zed_node/left/color/rect/image": IMAGE, "/zed/zed_node/left/color/rect/camera_info": INFO,
    "/zed/zed_node/depth/depth_registered": IMAGE, "/zed/zed_node/depth/camera_info": INFO,
}


def test_realsense() -> None:
    topics = choose_topics(REALSENSE, depth=True)
    base = "/camera/camera/"
    assert topics == BagTopics(f"{base}color/image_raw", f"{base}color/camera_info", f"{base}aligned_depth_to_color/image_raw")
    assert not topics.rectified and len(topics.all) == 3
    assert choose_topics(REALSENSE, depth=False).all == {f"{base}color/image_raw", f"{base}color/camera_info"}


def test_this_stack_with_and_without_a_namespace() -> None:
    for prefix in ("camera/", "/camera/", "/cell/front/camera/", "", "/"):
        types = {f"{prefix}color/image_raw": IMAGE, f"{prefix}color/camera_info": INFO, f"{prefix}aligned_depth_to_color/image_raw": IMAGE}
        topics = choose_topics(types, depth=True)
        assert topics.info == f"{prefix}color/camera_info" and topics.depth == f"{prefix}aligned_depth_to_color/image_raw"


def test_zed_of_both_generations() -> None:
    topics = choose_topics(ZED, depth=True)
    base = "/zed/zed_node/"
    assert topics == BagTopics(f"{base}rgb/color/rect/image", f"{base}rgb/color/rect/camera_info", f"{base}depth/depth_registered")
    assert topics.rectified
    older = {"/zed/zed_node/rgb/image_rect_color": IMAGE, "/zed/zed_node/rgb/camera_info": INFO, "/zed/zed_node/depth/depth_registered": IMAGE}
    assert choose_topics(older, depth=True).info == "/zed/zed_node/rgb/camera_info"
    below = {"/zed/zed_node/left/color/rect/image": IMAGE, "/zed/zed_node/left/color/rect/image/camera_info": INFO}
    assert choose_topics(below, depth=False).info == "/zed/zed_node/left/color/rect/image/camera_info"


def test_rectified_is_a_word_of_the_name_not_a_part_of_one() -> None:
    assert BagTopics("/cam/image_rect_color", "").rectified and BagTopics("/cam/color/rect/image", "").rectified
    assert not BagTopics("/director/color/image_raw", "").rectified


def test_compressed_pictures_where_there_are_no_raw_ones() -> None:
    types = {
        "/c/color/image_raw/compressed": COMPRESSED, "/c/color/camera_info": INFO,
        "/c/aligned_depth_to_color/image_raw/compressedDepth": COMPRESSED,
    }
    topics = choose_topics(types, depth=True)
    assert topics == BagTopics("/c/color/image_raw/compressed", "/c/color/camera_info", "/c/aligned_depth_to_color/image_raw/compressedDepth")


def test_the_lens_that_travels_with_depth_will_do() -> None:
    types = {name: type_name for name, type_name in REALSENSE.items() if name != "/camera/camera/color/camera_info"}
    assert choose_topics(types, depth=True).info == "/camera/camera/aligned_depth_to_color/camera_info"
    with pytest.raises(DeviceError, match="no CameraInfo beside"):
        choose_topics(types, depth=False)


def test_names_of_ones_own() -> None:
    types = {"/my/eye": IMAGE, "/my/lens": INFO, "/my/range": IMAGE}
    assert choose_topics(types, depth=True, colour_topic="/my/eye", depth_topic="/my/range", info_topic="/my/lens") \
        == BagTopics("/my/eye", "/my/lens", "/my/range")
    with pytest.raises(DeviceError, match="which depth is aligned to '/my/eye' cannot be told by its name; name one with depth_topic"):
        choose_topics(types, depth=True, colour_topic="/my/eye", info_topic="/my/lens")
    with pytest.raises(ConfigError, match="topic '/my/lens' is sensor_msgs/msg/CameraInfo; needed is"):
        choose_topics(types, depth=False, colour_topic="/my/lens")


def test_a_name_that_only_looks_like_one_is_none() -> None:
    with pytest.raises(DeviceError, match="no colour picture"):
        choose_topics({"/c/recolor/image_raw": IMAGE, "/c/recolor/camera_info": INFO}, depth=False)
