"""Find the package's own files, in a checkout or in an ament install."""
from pathlib import Path


def find(relative):
    """Return the path of a shipped file or folder such as 'config/panda.yaml'.

    Looks in the checkout around this module, then in the ament share folder. Raises FileNotFoundError.
    """
    checkout = Path(__file__).resolve().parent.parent / relative
    if checkout.exists():
        return checkout
    try:
        from ament_index_python.packages import get_package_share_directory
        shared = Path(get_package_share_directory('diffusion_planner')) / relative
    except (ImportError, LookupError, OSError):   # OSError: no ROS environment is set up
        shared = None
    if shared is None or not shared.exists():
        raise FileNotFoundError(f'{relative}: not found beside the package nor in its ament share folder')
    return shared
