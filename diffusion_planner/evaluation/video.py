"""Moving pictures as files: MP4 with what OpenCV's wheel can encode, GIF with Pillow."""
import os
from pathlib import Path

CODECS = ('vp09', 'mp4v')    # VP9 plays in browsers and is small; MPEG-4 part 2 is in every build


class VideoError(ValueError):
    """A moving picture that cannot be written or read; the message names the file."""


def write_video(path, pictures, rate_hz):
    """Write pictures [Y, X, 3] RGB with even sides to an MP4 file; the file is there whole or not at all.

    Raises VideoError where there is no picture or no codec.
    """
    import cv2
    path, writer, count = Path(path), None, 0
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_name(f'{path.stem}.part.mp4')   # OpenCV chooses the container by the ending
    for count, picture in enumerate(pictures, 1):
        writer = writer or _open(part, picture.shape, rate_hz)
        writer.write(cv2.cvtColor(picture, cv2.COLOR_RGB2BGR))
    if not count:
        raise VideoError(f'{path}: no pictures to write')
    writer.release()
    os.replace(part, path)
    return path


def _open(path, shape, rate_hz):
    import cv2
    for codec in CODECS:
        writer = cv2.VideoWriter(str(path), cv2.VideoWriter_fourcc(*codec), rate_hz, (shape[1], shape[0]))
        if writer.isOpened():
            return writer
    raise VideoError(f'{path}: cannot be written with any of the codecs {", ".join(CODECS)}')


def read_video(path):
    """Read a video: -> list of pictures [Y, X, 3] RGB, rate_hz. Raises VideoError."""
    import cv2
    reader, pictures = cv2.VideoCapture(str(path)), []
    while (answer := reader.read())[0]:
        pictures.append(cv2.cvtColor(answer[1], cv2.COLOR_BGR2RGB))
    if not pictures:
        raise VideoError(f'{path}: not a video that can be read')
    return pictures, reader.get(cv2.CAP_PROP_FPS)


def write_gif(path, pictures, rate_hz, limit_bytes=3_000_000, widths_px=(776, 640, 512, 400, 320), keep=()):
    """Write an endless GIF of at most limit_bytes, with fewer pixels and then fewer pictures where it must: -> path

    keep: colours, such as '#e03131', that the palette must have however little is painted with them.
    Raises VideoError where even the smallest is too large.
    """
    for every in (1, 2, 3):
        for width in widths_px:
            _save_gif(path, pictures[::every], rate_hz / every, width, keep)
            if Path(path).stat().st_size <= limit_bytes:
                return Path(path)
    raise VideoError(f'{path}: more than {limit_bytes} bytes at {width} pixels width; expected fewer than {len(pictures)} pictures')


def _save_gif(path, pictures, rate_hz, width, keep=()):
    """Save with one palette for all pictures, undithered: what stands still then costs nothing."""
    from PIL import Image
    height = round(pictures[0].shape[0] * width / pictures[0].shape[1])
    images = [Image.fromarray(picture).resize((width, height), Image.Resampling.LANCZOS) for picture in pictures]
    sample = images[::max(1, len(images) // 8)]
    band = max(1, height // 8)
    sheet = Image.new('RGB', (width, height * len(sample) + band * len(keep)))
    for index, image in enumerate(sample):
        sheet.paste(image, (0, index * height))
    for index, colour in enumerate(keep):      # a palette goes by area
        sheet.paste(colour, (0, height * len(sample) + index * band, width, height * len(sample) + (index + 1) * band))
    palette = sheet.quantize(128, method=Image.Quantize.MEDIANCUT)
    first, *rest = [image.quantize(palette=palette, dither=Image.Dither.NONE) for image in images]
    first.save(path, save_all=True, append_images=rest, duration=round(1000 / rate_hz), loop=0, optimize=False)
