"""Chunks as the bytes that leave the process."""
from rclpy.serialization import serialize_message

from diffusion_planner.ros.conversions import to_joint_trajectory


def to_wire(chunk, joint_names, publish_now_s):
    """Serialise a chunk as trajectory_msgs/JointTrajectory: to_wire(chunk, joint_names [J], publish_now_s) -> bytes"""
    return serialize_message(to_joint_trajectory(chunk, joint_names, publish_now_s))
