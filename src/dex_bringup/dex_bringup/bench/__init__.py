# SPDX-License-Identifier: Apache-2.0
"""Benchmarks that know their goals; one module each, imported when chosen."""

BENCHES = {
    "closed-loop": "success of the task over unseen seeds, through ROS and the SDKs",
    "control-jitter": "period of the 100 Hz command stream with everything running and a goal",
    "serving": "the policy server, model aside: overhead on one core, chunks a second; around a network of real size",
    "remote": "the policy on a real MLServer on this machine, over HTTP and gRPC: what of a request is not the model (needs make serve-env)",
    "stop-latency": "stop service to the last moving command on the arms' wire; killed process to hold",
    "servo-rate": "period of one xArm's servo stream at 250 Hz, at the controller's wire",
    "latency": "camera stamp to first command, besides inference",
    "camera": "pictures to three subscribers, beside the untuned middleware and raw shared memory",
    "hand-ik": "fingertips to joints, beside other libraries: time, residual, jumps",
    "chunk-ik": "a chunk of fingertips to joints as one",
    "ik-cold-start": "import, build and first answer of the hand IK: time and memory",
    "arm-ik": "tool pose to joints, beside other libraries: time, share solved, jumps",
    "collision": "smallest distance of a whole cell with its gradient, and of a chunk",
    "clouds": "a depth picture to coloured points, voxels and normals, beside NumPy and open3d: time, error of the normals",
    "segmentation": "one, two and three clicks on rendered tables: overlap with the truth, time of a click",
    "latents": "the shared latent space of the hands, beside the released one and what the hands could do",
    "cross-hand": "one latent policy on every hand, beside padded joints and retargeting from one hand: success in lockstep",
    "completion": "the whole thing from one side, on unseen things: Chamfer distance, normals, time",
    "chunking": "how chunks follow each other, over latencies of the policy: success, and what the seams feel like",
    "cell-tick": "one control tick of a cell: both arms, both hands, filter, limits",
    "fuzz": "broken frames, messages and files through every reader: crashes, hangs, unsafe commands",
    "soak": "memory, threads, descriptors and latency of the whole simulated cell over time",
    "stereo": "depth of a stereo pair by block matching: milliseconds and millimetres",
    "keypoints": "robot keypoints in the picture beside MuJoCo's own: pixels, and which are seen",
    "perception": "every stage of perception: milliseconds and quality in one report",
    "eval": "speed of dex eval against real time",
}

__all__ = ["BENCHES"]
