"""Package diffusion_planner, for pip and for colcon alike."""
import os

from setuptools import find_packages, setup

NAME = 'diffusion_planner'
UNFINISHED = 'training'   # models/<name>/training holds work in progress, which nobody installs


def shared(folder):
    """List every file below a folder for the ament share directory, in setuptools' form."""
    found = []
    for root, folders, files in os.walk(folder):
        folders[:] = sorted(name for name in folders if name not in (UNFINISHED, '__pycache__'))
        if files:
            found.append((os.path.join('share', NAME, root), [os.path.join(root, name) for name in sorted(files)]))
    return found


setup(
    name=NAME,
    version='0.1.0',
    description='Plan arm motion by denoising an imagined, rewarded future',
    license='Apache-2.0',
    maintainer='diffusion_planner maintainers',
    maintainer_email='maintainers@diffusion-planner.example',
    packages=find_packages(include=[NAME, f'{NAME}.*']),
    data_files=[
        ('share/ament_index/resource_index/packages', [f'resource/{NAME}']),
        (f'share/{NAME}', ['package.xml']),
        *shared('launch'), *shared('config'), *shared('models'),
    ],
    python_requires='>=3.10',
    # Ranges, not pins: a ROS distribution brings its own numpy, and its messages are compiled against it.
    install_requires=[
        'setuptools', 'numpy', 'scipy', 'pyyaml', 'safetensors', 'ruckig', 'pybullet', 'imageio', 'pillow',
        'opencv-python-headless', 'typer', 'rich', 'lark',
    ],
    extras_require={
        'ros': ['ros-rclpy[fastrtps]', 'ros-sensor-msgs', 'ros-trajectory-msgs', 'ros-std-srvs', 'ros-std-msgs',
                'ros-diagnostic-msgs', 'ros-visualization-msgs', 'ros-lifecycle-msgs', 'ros-rosgraph-msgs',
                'ros-geometry-msgs', 'ros-builtin-interfaces', 'ros-rcl-interfaces', 'ros-ament-index-python'],
        'torch': ['torch'],                                   # the backend that trains and exports; one of this and onnx is needed
        'bags': ['rosbags', 'h5py', 'hdf5plugin', 'matplotlib'],         # to read, write and evaluate bags
        'lerobot': ['pyarrow', 'av'],                         # to read and write LeRobot datasets
        'rerun': ['rerun-sdk'],                               # to write recordings for the rerun viewer
        'train': ['torch', 'accelerate', 'ompl', 'h5py', 'hdf5plugin', 'tensorboard', 'matplotlib'],
        'ray': ['ray'],                                       # to fan out over machines
        'onnx': ['onnxruntime'],                              # to run an exported model
        'export': ['torch', 'onnx', 'onnxscript', 'onnxruntime'],      # to export one
        'benchmark': ['gymnasium', 'gymnasium-robotics', 'mujoco'],
        'gpu': ['torch', 'onnxruntime-gpu'],                  # in place of onnxruntime, which has the same files; a CUDA torch: see the Makefile
        'test': ['pytest', 'pytest-xdist', 'hypothesis'],
    },
    entry_points={'console_scripts': [
        'diffusion-planner = diffusion_planner.cli:main',
        'planner_node = diffusion_planner.ros.planner_node:program',
        'sim_node = diffusion_planner.ros.sim_node:program',
        'player_node = diffusion_planner.ros.player_node:program',
    ]},
    zip_safe=True,
)
