"""What a film of a session shows: the arm with the imagined path drawn in, and beside it the imagined arrival."""
from dataclasses import dataclass, field

import numpy as np

SIDE_PX = 384
GAP_PX = 8
CAPTION_PX = 48
NEAR_RGB, FAR_RGB = (255, 214, 10), (40, 225, 255)      # the target is red, the wall blue, the table brown
BACKGROUND_RGB, TEXT_RGB, FAINT_RGB = (18, 20, 26), (235, 235, 240), (150, 152, 160)


@dataclass(frozen=True)
class Shot:
    """One instant: picture [Y, X, 3] uint8 as the planner saw it, position_rad [J], and what it imagined last.

    imagined [Y, X, 3] uint8 is the decoded far picture, path_m [N, 3] the fingertip's way there in the base frame;
    figures may hold reward, arrival_s and guidance_scale of the plan.
    """

    seed: int
    elapsed_s: float
    picture: np.ndarray
    position_rad: np.ndarray | None = None
    imagined: np.ndarray | None = None
    path_m: np.ndarray | None = None
    figures: dict = field(default_factory=dict)
    outcome: str = ''


class Film:
    """Keeps the shots of the first episodes, small, until there is time to draw them."""

    def __init__(self, limit_s=16.0, rate_hz=10.0):
        self.limit, self.rate_hz, self.shots = int(limit_s * rate_hz), rate_hz, []

    @property
    def full(self):
        return len(self.shots) >= self.limit

    def due(self, seed, elapsed_s):
        """Return whether the next shot is due at this instant of an episode."""
        last = self.shots[-1] if self.shots else None
        new = last is None or last.seed != seed or last.outcome
        return not self.full and (new or elapsed_s >= last.elapsed_s + 1 / self.rate_hz - 1e-3)

    def add(self, shot):
        """Keep a shot; the last one of an episode, with its outcome, is held for 0.8 s."""
        self.shots += [shot] * (int(0.8 * self.rate_hz) if shot.outcome else 1)


class Studio:
    """Takes large pictures of a shot's scene after the session, where it costs the planner nothing."""

    def __init__(self, robot, camera):
        from diffusion_planner.sim.scene import draw_scene
        from diffusion_planner.sim.world import World
        self.world, self.robot, self.camera, self.draw_scene, self.seed = World(), robot, camera, draw_scene, None

    def picture(self, shot):
        """Take the picture of the arm as it stood: -> pixels [SIDE_PX, SIDE_PX, 3], None without a posture"""
        if shot.position_rad is None:
            return None
        if shot.seed != self.seed:
            self.seed = shot.seed
            self.world.set_target(self.draw_scene(self.world, self.robot, shot.seed).target_m)
        self.world.set_joints(shot.position_rad)
        return self.world.render(self.camera, SIDE_PX, SIDE_PX, shadow=True)

    def close(self):
        self.world.close()


def draw(shot, camera, large=None):
    """Draw a shot: draw(shot, camera, large [SIDE_PX, SIDE_PX, 3] | None) -> pixels [Y, X, 3], uint8, RGB

    Without a large picture the planner's own is enlarged.
    """
    left = enlarge(shot.picture, smooth=True) if large is None else np.array(large)
    left = left if shot.path_m is None else draw_path(left, camera.project(shot.path_m, SIDE_PX, SIDE_PX))
    right = np.full_like(left, BACKGROUND_RGB) if shot.imagined is None else enlarge(shot.imagined, smooth=True)
    sheet = np.empty((SIDE_PX + CAPTION_PX, 2 * SIDE_PX + GAP_PX, 3), np.uint8)
    sheet[:] = BACKGROUND_RGB
    sheet[:SIDE_PX, :SIDE_PX], sheet[:SIDE_PX, -SIDE_PX:] = left, right
    return _write(sheet, ((8, *_seen(shot)), (SIDE_PX + GAP_PX + 8, *_imagined(shot))))


def enlarge(picture, smooth=False):
    """Enlarge a picture to [SIDE_PX, SIDE_PX, 3]."""
    import cv2
    return cv2.resize(np.ascontiguousarray(picture), (SIDE_PX, SIDE_PX),
                      interpolation=cv2.INTER_CUBIC if smooth else cv2.INTER_NEAREST)


def draw_path(picture, pixels, ring=True):
    """Draw a path into a picture, yellow near and cyan far, a ring at its end: draw_path(picture, pixels [N, 2]) -> picture"""
    import cv2
    picture = np.ascontiguousarray(picture)
    points = np.round(np.asarray(pixels) * 16).astype(int)   # cv2 takes sixteenths of a pixel
    share = np.linspace(0, 1, len(points))[:, None]
    colours = ((1 - share) * NEAR_RGB + share * FAR_RGB).astype(int).tolist()
    for begin, end, colour in zip(points, points[1:], colours[1:]):
        cv2.line(picture, begin.tolist(), end.tolist(), colour, 2, cv2.LINE_AA, 4)
    for point, colour in zip(points, colours):
        cv2.circle(picture, point.tolist(), 3 * 16, colour, -1, cv2.LINE_AA, 4)
    if ring and len(points):
        cv2.circle(picture, points[-1].tolist(), 9 * 16, FAR_RGB, 2, cv2.LINE_AA, 4)
    return picture


def _seen(shot):
    state = shot.outcome or ('' if shot.path_m is None else 'line: the imagined way of the fingertip')
    return f'scene {shot.seed}    time {shot.elapsed_s:.1f} s', state


def _imagined(shot):
    figures, texts = shot.figures, []
    for name, pattern in (('reward', 'predicted reward {:.2f}'), ('guidance_scale', 'guidance scale {:g}')):
        texts += [pattern.format(figures[name])] if figures.get(name) is not None else []
    arrival = f' in {figures["arrival_s"]:.1f} s' if figures.get('arrival_s') is not None else ''
    return ('nothing imagined yet' if shot.imagined is None else f'imagined on arrival{arrival}'), '    '.join(texts)


def _write(sheet, captions):
    """Write captions below the pictures: captions are (x, first line, second line)."""
    from PIL import Image, ImageDraw, ImageFont
    image = Image.fromarray(sheet)
    pen = ImageDraw.Draw(image)
    for left, first, second in captions:
        pen.text((left, SIDE_PX + 6), first, fill=TEXT_RGB, font=ImageFont.load_default(16))
        pen.text((left, SIDE_PX + 27), second, fill=FAINT_RGB, font=ImageFont.load_default(14))
    return np.array(image)


def shoot_large(shots, robot, pause=lambda: None, camera=None):
    """Draw every shot with a large picture of its scene; yields pictures and shows a progress bar.

    `pause` is called before each picture and may raise.
    """
    from rich.progress import track

    from diffusion_planner.sim.camera import Camera
    camera = camera or Camera()
    studio = Studio(robot, camera)
    try:
        for shot in track(shots, 'drawing the video', transient=True):
            pause()
            yield draw(shot, camera, studio.picture(shot))
    finally:
        studio.close()
