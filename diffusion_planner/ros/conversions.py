"""Records into ROS messages. The other way round is messages.py, which serves bags too."""
import json
import math
from array import array

import numpy as np
from builtin_interfaces.msg import Duration, Time
from geometry_msgs.msg import Point
from rosgraph_msgs.msg import Clock
from sensor_msgs.msg import CameraInfo, Image, JointState
from std_msgs.msg import ColorRGBA, Header, String
from trajectory_msgs.msg import JointTrajectory, JointTrajectoryPoint
from visualization_msgs.msg import Marker, MarkerArray


def to_time(stamp_s):
    """to_time(stamp_s) -> builtin_interfaces/Time"""
    nanoseconds = round(stamp_s * 1e9)
    return Time(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def to_duration(seconds):
    """to_duration(seconds) -> builtin_interfaces/Duration"""
    nanoseconds = round(seconds * 1e9)
    return Duration(sec=nanoseconds // 10**9, nanosec=nanoseconds % 10**9)


def to_joint_trajectory(chunk, joint_names, publish_now_s):
    """Dress a chunk for joint_trajectory_controller: header.stamp zero, every point timed from publication.

    to_joint_trajectory(chunk, joint_names [J], publish_now_s) -> trajectory_msgs/JointTrajectory
    Raises ValueError if the first point is not in the future, which the controller would execute as a step.
    """
    lead_s = chunk.origin_s - publish_now_s      # first: added to an offset, the seconds since 1970 would cost digits
    first_s = lead_s + float(chunk.offset_s[0])
    if first_s <= 0:
        raise ValueError(f'first point is {-first_s:.3f} s in the past, expected one in the future')
    message = JointTrajectory(joint_names=list(joint_names))
    rows = zip(chunk.offset_s, chunk.position_rad.tolist(), chunk.velocity_rad_s.tolist(), chunk.acceleration_rad_s2.tolist())
    message.points = [
        JointTrajectoryPoint(positions=position, velocities=velocity, accelerations=acceleration,
                             time_from_start=to_duration(lead_s + float(offset_s)))
        for offset_s, position, velocity, acceleration in rows]
    return message


def to_image(pixels, stamp_s, frame_id):
    """to_image(pixels [Y, X, 3] uint8 RGB, stamp_s, frame_id) -> sensor_msgs/Image rgb8"""
    height, width, _ = pixels.shape
    # An array.array is taken over as it is; the setter would copy an ndarray element by element.
    return Image(header=Header(stamp=to_time(stamp_s), frame_id=frame_id), height=height, width=width, encoding='rgb8',
                 step=3 * width, is_bigendian=0, data=array('B', np.ascontiguousarray(pixels).tobytes()))


def to_camera_info(info, stamp_s):
    """to_camera_info({'width', 'height', 'K' [9], 'frame_id'}, stamp_s) -> sensor_msgs/CameraInfo of a pinhole camera"""
    intrinsics = [float(value) for value in info['K']]
    projection = [value for row in range(3) for value in (*intrinsics[3 * row:3 * row + 3], 0.0)]
    return CameraInfo(header=Header(stamp=to_time(stamp_s), frame_id=info['frame_id']), width=info['width'], height=info['height'],
                      distortion_model='plumb_bob', d=[0.0] * 5, k=intrinsics, r=np.eye(3).ravel().tolist(), p=projection)


def to_joint_state(reading, joint_names):
    """to_joint_state(reading: JointReading, joint_names [J]) -> sensor_msgs/JointState"""
    return JointState(header=Header(stamp=to_time(reading.stamp_s)), name=list(joint_names),
                      position=np.asarray(reading.position_rad, float).tolist(),
                      velocity=np.asarray(reading.velocity_rad_s, float).tolist())


def to_clock(now_s):
    """to_clock(now_s) -> rosgraph_msgs/Clock"""
    return Clock(clock=to_time(now_s))


def to_path_markers(points_m, stamp_s, frame_id):
    """Draw an imagined fingertip path, its end as a ball.

    to_path_markers(points_m [N, 3], stamp_s, frame_id) -> visualization_msgs/MarkerArray
    """
    points = [Point(x=float(x), y=float(y), z=float(z)) for x, y, z in points_m]
    header = Header(stamp=to_time(stamp_s), frame_id=frame_id)
    path = Marker(header=header, ns='imagined', id=0, type=Marker.LINE_STRIP, action=Marker.ADD, points=points,
                  color=ColorRGBA(r=1.0, g=0.6, b=0.1, a=0.9))
    end = Marker(header=header, ns='imagined', id=1, type=Marker.SPHERE, action=Marker.ADD, color=ColorRGBA(r=1.0, g=0.3, b=0.1, a=0.9))
    path.scale.x = 0.008
    path.pose.orientation.w = end.pose.orientation.w = 1.0
    end.pose.position = points[-1]
    end.scale.x = end.scale.y = end.scale.z = 0.03
    return MarkerArray(markers=[path, end])


def to_ball(centre_m, radius_m, stamp_s, frame_id):
    """Draw the ball in which the fingertip is rewarded: to_ball(centre_m [3], ...) -> visualization_msgs/Marker"""
    marker = Marker(header=Header(stamp=to_time(stamp_s), frame_id=frame_id), ns='target', id=0, type=Marker.SPHERE, action=Marker.ADD,
                    color=ColorRGBA(r=1.0, g=0.1, b=0.1, a=0.4))
    marker.pose.position.x, marker.pose.position.y, marker.pose.position.z = map(float, centre_m)
    marker.pose.orientation.w = 1.0
    marker.scale.x = marker.scale.y = marker.scale.z = 2 * float(radius_m)
    return marker


def to_json(mapping):
    """Write a mapping of numbers, numpy ones included, as JSON text; what is not finite becomes null: -> std_msgs/String"""
    return String(data=json.dumps(_plain(mapping), allow_nan=False))


def _plain(value):
    if isinstance(value, dict):
        return {name: _plain(item) for name, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if hasattr(value, 'tolist'):
        return _plain(value.tolist())
    return None if isinstance(value, float) and not math.isfinite(value) else value
