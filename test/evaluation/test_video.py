"""Films and their files, with made-up pictures."""
import numpy as np
import pytest
from PIL import Image

from diffusion_planner.evaluation import film, video
from diffusion_planner.sim.camera import Camera


def shot(**changes):
    return film.Shot(**{'seed': 3, 'elapsed_s': 1.0, 'picture': np.full((96, 96, 3), 90, np.uint8), **changes})


def test_path_is_drawn_where_the_camera_sees_it():
    camera, far_m = Camera(), (0.5, 0.1, 0.03)
    with_path = film.draw(shot(path_m=[(0.4, -0.2, 0.3), far_m]), camera)
    changed = np.argwhere((with_path != film.draw(shot(), camera))[:film.SIDE_PX].any(-1))
    for point_m in ((0.4, -0.2, 0.3), far_m):
        column, row = camera.project([point_m], film.SIDE_PX, film.SIDE_PX)[0]
        assert np.linalg.norm(changed - (row, column), axis=1).min() < 1.5
    assert changed[:, 1].max() < film.SIDE_PX      # nothing leaves its picture


def test_imagined_picture_stands_beside_the_camera():
    picture = film.draw(shot(imagined=np.full((96, 96, 3), 200, np.uint8)), Camera())
    assert picture.shape[0] % 2 == 0 and picture.shape[1] % 2 == 0     # codecs want even sides
    assert (picture[:film.SIDE_PX, :film.SIDE_PX] == 90).all() and (picture[:film.SIDE_PX, -film.SIDE_PX:] == 200).all()


def test_film_is_bounded_and_holds_outcomes():
    reel = film.Film(limit_s=2.0, rate_hz=10)
    taken = 0
    for seed in range(3):
        for step in range(50):
            if reel.due(seed, 0.02 * step):
                reel.add(shot(seed=seed, elapsed_s=0.02 * step))
                taken += 1
        if not reel.full:
            reel.add(shot(seed=seed, outcome='target not reached'))
    assert taken == 12 and len(reel.shots) == 20 and reel.full     # 10 shots, outcome held for 8, then 2 of the next
    assert not reel.due(9, 0.0)


def test_video_comes_back_as_it_went(tmp_path):
    pictures = [np.full((64, 96, 3), (20 * index, 100, 200 - 20 * index), np.uint8) for index in range(8)]
    path = video.write_video(tmp_path / 'new' / 'film.mp4', iter(pictures), 10)
    back, rate_hz = video.read_video(path)
    assert len(back) == 8 and rate_hz == 10 and list(path.parent.iterdir()) == [path]
    assert max(np.abs(was.mean((0, 1)) - now.mean((0, 1))).max() for was, now in zip(pictures, back)) < 8


def test_gif_fits_its_limit(tmp_path):
    noise = np.random.default_rng(0)
    pictures = [noise.integers(0, 255, (80, 160, 3), dtype=np.uint8) for _ in range(6)]
    path = video.write_gif(tmp_path / 'film.gif', pictures, 10, limit_bytes=60_000, widths_px=(160, 80))
    assert path.stat().st_size <= 60_000
    with Image.open(path) as image:
        assert image.n_frames > 1 and image.info['loop'] == 0
    with pytest.raises(video.VideoError, match='film.gif'):
        video.write_gif(path, pictures, 10, limit_bytes=100, widths_px=(80,))


def test_no_pictures_and_no_video_are_named(tmp_path):
    with pytest.raises(video.VideoError, match='empty.mp4: no pictures'):
        video.write_video(tmp_path / 'empty.mp4', [], 10)
    (tmp_path / 'text.mp4').write_text('not a video')
    with pytest.raises(video.VideoError, match='text.mp4'):
        video.read_video(tmp_path / 'text.mp4')
