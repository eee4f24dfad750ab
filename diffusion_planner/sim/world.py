"""The physics: a Panda on a table, boxes as obstacles and a coloured target, in PyBullet."""
import os
import tempfile
from pathlib import Path

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.sim.quiet import quiet_stdout

with quiet_stdout():
    import pybullet
    import pybullet_data

ARM_LINKS = range(2, 12)        # links that move over the table; the base stands on it
TIP_LINK = 11                   # panda_grasptarget
FINGERS = (9, 10)
TABLE_HALF_M = (0.55, 0.70, 0.20)
TABLE_CENTRE_M = (0.40, 0.0, -0.20)
TARGET_RADIUS_M = 0.03
TABLE_RGBA, ARM_RGBA, TARGET_RGBA = (0.55, 0.45, 0.35, 1), (0.85, 0.85, 0.87, 1), (0.95, 0.10, 0.10, 1)
FORCE_N_M = (87.0, 87.0, 87.0, 87.0, 12.0, 12.0, 12.0)


class World:
    """One PyBullet world. Joint arrays are [7], radians, in the order of the robot file."""

    def __init__(self, period_s=1 / 240, gui=False):
        if gui and not os.environ.get('DISPLAY'):
            raise ConfigError('--gui needs a display; DISPLAY is not set')
        with quiet_stdout():
            self.client = pybullet.connect(pybullet.GUI if gui else pybullet.DIRECT)
        self.joints = list(range(7))
        self.obstacles, self.extras = [], []
        self._call('setTimeStep', period_s)
        self._call('setGravity', 0, 0, -9.81)
        self.table = self._box(TABLE_CENTRE_M, TABLE_HALF_M, TABLE_RGBA)
        self.arm = self._load_arm()
        self.shut_fingers()
        shape = self._call('createVisualShape', pybullet.GEOM_SPHERE, radius=TARGET_RADIUS_M, rgbaColor=TARGET_RGBA)
        self.target = self._call('createMultiBody', 0, -1, shape, (0, 0, -1))

    def _call(self, name, *arguments, **options):
        return getattr(pybullet, name)(*arguments, physicsClientId=self.client, **options)

    def _load_arm(self):
        """Load the Panda with its collision meshes as visuals: ten times fewer triangles, ten times faster pictures."""
        folder = Path(pybullet_data.getDataPath()) / 'franka_panda'
        text = (folder / 'panda.urdf').read_text()
        text = text.replace('meshes/visual/', 'meshes/collision/').replace('package://', f'{folder}/')
        with tempfile.NamedTemporaryFile('w', suffix='.urdf') as urdf, quiet_stdout():
            urdf.write(text)
            urdf.flush()
            arm = self._call('loadURDF', urdf.name, useFixedBase=True)
        for link in range(-1, 12):  # the base has number -1
            self._call('changeVisualShape', arm, link, rgbaColor=ARM_RGBA)
        return arm

    def _box(self, centre_m, half_m, rgba):
        collision = self._call('createCollisionShape', pybullet.GEOM_BOX, halfExtents=half_m)
        visual = self._call('createVisualShape', pybullet.GEOM_BOX, halfExtents=half_m, rgbaColor=rgba)
        return self._call('createMultiBody', 0, collision, visual, centre_m)

    def set_obstacles(self, boxes):
        """Replace the obstacles by `boxes` (scene.Box)."""
        for body in self.obstacles:
            self._call('removeBody', body)
        self.obstacles = [self._box(box.centre_m, box.half_m, box.rgba) for box in boxes]

    def add_box(self, centre_m, half_m, rgba):
        """Add a fixed box that no ordinary scene has, until `clear_extras`."""
        self.extras.append(self._box(centre_m, half_m, rgba))

    def add_cylinder(self, centre_m, radius_m, height_m, rgba):
        """Add a fixed upright cylinder that no ordinary scene has, until `clear_extras`."""
        collision = self._call('createCollisionShape', pybullet.GEOM_CYLINDER, radius=radius_m, height=height_m)
        visual = self._call('createVisualShape', pybullet.GEOM_CYLINDER, radius=radius_m, length=height_m, rgbaColor=rgba)
        self.extras.append(self._call('createMultiBody', 0, collision, visual, centre_m))

    def add_arm(self):
        """Add another Panda, its gripper shut, until `clear_extras`: -> body"""
        arm = self._load_arm()
        self.shut_fingers(arm)
        self.extras.append(arm)
        return arm

    def place_arm(self, arm, base_m, yaw_rad, position_rad):
        """Stand an added arm somewhere, its motors holding it at a posture."""
        rotation = pybullet.getQuaternionFromEuler((0, 0, yaw_rad))
        self._call('resetBasePositionAndOrientation', arm, base_m, rotation)
        self.set_joints(position_rad, arm)
        self.drive(position_rad, np.zeros(len(self.joints)), arm)

    def clear_extras(self):
        """Remove what was added to the ordinary scene."""
        for body in self.extras:
            self._call('removeBody', body)
        self.extras = []

    def set_target(self, position_m):
        """Move the target; it is seen, and nothing bumps into it."""
        self._call('resetBasePositionAndOrientation', self.target, position_m, (0, 0, 0, 1))

    def set_joints(self, position_rad, arm=None):
        """Teleport the arm (or an added one) to a posture at rest."""
        self._call('resetJointStatesMultiDof', self.arm if arm is None else arm, self.joints, [(angle,) for angle in position_rad])

    def drive(self, position_rad, velocity_rad_s, arm=None):
        """Set what the joint motors of the arm (or an added one) aim at from the next step on."""
        self._call('setJointMotorControlArray', self.arm if arm is None else arm, self.joints, pybullet.POSITION_CONTROL,
                   targetPositions=list(position_rad), targetVelocities=list(velocity_rad_s),
                   forces=FORCE_N_M, positionGains=[0.3] * 7, velocityGains=[1.0] * 7)

    def shut_fingers(self, arm=None):
        """Shut the gripper of the arm (or an added one) and keep it shut, so that the fingertip is one point."""
        arm = self.arm if arm is None else arm
        for finger in FINGERS:
            self._call('resetJointState', arm, finger, 0.0)
        self._call('setJointMotorControlArray', arm, FINGERS, pybullet.POSITION_CONTROL,
                   targetPositions=[0.0, 0.0], forces=[20.0, 20.0])

    def step(self):
        self._call('stepSimulation')

    def joint_state(self):
        """Read the encoders: position_rad [7], velocity_rad_s [7]."""
        states = self._call('getJointStates', self.arm, self.joints)
        return np.array([state[0] for state in states]), np.array([state[1] for state in states])

    def tip_m(self):
        """Return the fingertip's position [3] in the base frame."""
        return np.array(self._call('getLinkState', self.arm, TIP_LINK, computeForwardKinematics=1)[4])

    def touching(self):
        """Return whether the arm touches the table, an obstacle or an extra body."""
        return any(point[3] in ARM_LINKS and point[8] <= 0
                   for body in (self.table, *self.obstacles, *self.extras)
                   for point in self._call('getContactPoints', self.arm, body))

    def is_clear(self, position_rad, obstacle_m, table_m):
        """Return whether the arm in this posture keeps these distances from obstacles and table (moves the arm)."""
        self.set_joints(position_rad)
        obstacles = (*self.obstacles, *self.extras)
        return self.is_apart(self.arm, (self.table,), table_m) and self.is_apart(self.arm, obstacles, obstacle_m)

    def is_apart(self, arm, bodies, distance_m):
        """Return whether an arm's moving links, where they are, keep a distance from other bodies."""
        return not any(point[3] in ARM_LINKS for body in bodies
                       for point in self._call('getClosestPoints', arm, body, distance_m))

    def inverse(self, seed_rad, tip_m, tip_quaternion):
        """Solve inverse kinematics near a posture: inverse(seed [7], tip [3], quaternion [4]) -> position_rad [7]."""
        self.set_joints(seed_rad)
        solution = self._call('calculateInverseKinematics', self.arm, TIP_LINK, tip_m, tip_quaternion,
                              maxNumIterations=60, residualThreshold=1e-4)
        return np.array(solution[:7])

    def render(self, camera, height_px=None, width_px=None, shadow=False):
        """Take a picture: render(camera) -> pixels [Y, X, 3], uint8, RGB."""
        height_px, width_px = height_px or camera.height_px, width_px or camera.width_px
        view = pybullet.computeViewMatrix(camera.eye_m, camera.look_at_m, (0, 0, 1))
        projection = pybullet.computeProjectionMatrixFOV(camera.fov_deg, width_px / height_px, 0.05, 4.0)
        picture = self._call('getCameraImage', width_px, height_px, view, projection, shadow=int(shadow),
                             lightDirection=(0.6, 0.5, 1.5), renderer=pybullet.ER_TINY_RENDERER)
        return np.reshape(picture[2], (height_px, width_px, 4))[:, :, :3].astype(np.uint8)

    def close(self):
        pybullet.disconnect(self.client)
