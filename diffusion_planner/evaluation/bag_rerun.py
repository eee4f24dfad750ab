"""The walk through a bag as a recording for the rerun viewer: pictures, joints, fingertip, judgements over the bag's own time.

Written to a file, without a server; rerun is an optional extra (`pip install 'diffusion_planner[rerun]'`). Its viewer and its command
line may send usage data of their own (`rerun analytics disable`), this writer opens no connection.
"""
import math
import os
import warnings
from pathlib import Path

import numpy as np

NAME = 'report.rrd'
TIMELINES = {'duration': 'bag_time', 'timestamp': 'bag_date'}      # a timeline keeps its type for the life of the process
EPOCH_S = 1e8               # stamps beyond this are dates, not seconds since a start
JPEG_QUALITY = 92
SHORT_S = 1e-6
MEASURED_RGB, PLANNED_RGB, IMAGINED_RGB = (120, 120, 130), (214, 93, 14), (46, 125, 175)
PATHS = {'executed': MEASURED_RGB, 'planned': PLANNED_RGB}
JOINTS = {'measured': MEASURED_RGB, 'planned': PLANNED_RGB, 'imagined': IMAGINED_RGB}


def write(folder, moments, joint_names=(), cameras=()):
    """Write OUT/report.rrd: write(folder, moments, joint_names [J], cameras [V]) -> path, or None where rerun is missing or off

    `moments` are bag_records.Moment in the order of their stamps; names that are not given are numbers. The file appears when whole.
    """
    try:
        import rerun as rr
    except ImportError as error:
        print(f'{NAME}: not written, {error}; pip install rerun-sdk gets it')
        return None
    path = Path(folder) / NAME
    part = path.with_name(f'{NAME}.part')
    stream = rr.RecordingStream('diffusion_planner', recording_id='report', send_properties=False)
    with warnings.catch_warnings():
        warnings.simplefilter('error', RuntimeWarning)      # rerun warns of what it could not write and goes on
        _record(rr, stream, part, list(moments), tuple(joint_names), tuple(cameras))
    if not part.exists():
        print(f'{NAME}: not written, rerun is switched off; unset the environment variable RERUN')
        return None
    os.replace(part, path)
    return path


def _record(rr, stream, part, moments, joint_names, cameras):
    stream.save(part, default_blueprint=_blueprint(moments, joint_names, cameras))
    stream.send_recording_name(Path(part).parent.resolve().name)
    for kind in JOINTS:
        _send_joints(rr, stream, kind, *_trace(moments, kind), joint_names)
    _send_figures(rr, stream, moments)
    for moment in moments:
        _set_time(stream, moment.stamp_s)
        for folder, pictures in (('camera', moment.pixels), ('imagined_camera', moment.imagined)):
            for index, picture in enumerate(() if pictures is None else pictures):
                image = rr.Image(np.ascontiguousarray(picture)).compress(jpeg_quality=JPEG_QUALITY)
                stream.log([folder, _part(cameras, index)], image)
        _log_paths(rr, stream, moment)
        if moment.refusal:
            stream.log('refusals', rr.TextLog(moment.refusal, level=rr.TextLogLevel.WARN))
    stream.flush()
    stream.disconnect()


def _trace(moments, kind):
    """Join what each moment says until the next into one trace: -> stamp_s [N], position_rad [N, J]; a gap is a row of nan"""
    name = {'measured': 'executed_rad', 'planned': 'planned_rad', 'imagined': 'unguided_rad'}[kind]
    stamps, rows = [], []
    for moment, until in zip(moments, _ends(moments)):
        values = getattr(moment, name)
        known = np.zeros(0, int) if values is None else np.flatnonzero(moment.stamp_s + moment.offset_s < until - SHORT_S)
        if kind == 'measured' or values is not None:
            stamps += [[moment.stamp_s]]
            rows += [np.asarray(moment.position_rad)[None]]
        if len(known):
            stamps += [moment.stamp_s + np.asarray(moment.offset_s)[known]]
            rows += [np.asarray(values)[known]]
    return (np.concatenate(stamps), np.concatenate(rows)) if rows else (np.zeros(0), np.zeros((0, 0)))


def _ends(moments):
    """Say until when each moment counts: until the next one of its episode, else for as long as the last ones were apart."""
    stamps = [moment.stamp_s for moment in moments]
    usual = float(np.median(np.diff(stamps))) if len(stamps) > 1 else math.inf
    following = zip(moments, moments[1:])
    return [min(later.stamp_s, now.stamp_s + usual) if now.episode != later.episode else later.stamp_s for now, later in following] + [
        stamp + usual for stamp in stamps[-1:]]


def _send_joints(rr, stream, kind, stamp_s, position_rad, joint_names):
    known = np.isfinite(position_rad).all(1)
    for joint in range(position_rad.shape[1] if known.any() else 0):
        path = rr.new_entity_path(['joints', _part(joint_names, joint, 'joint'), kind])
        _send_series(rr, stream, path, stamp_s[known], position_rad[known, joint], JOINTS[kind], f'{kind}, rad')


def _send_figures(rr, stream, moments):
    """Write every figure of the moments as a curve; rewards share a plot, typicality and the rest have their own."""
    names = sorted({name for moment in moments for name in moment.figures})
    curves = {'reward/realised': [(moment.stamp_s, moment.reward) for moment in moments]}
    for name in names:
        folder = 'reward' if 'reward' in name or 'judge' in name else name if name in ('typicality', 'strangeness') else 'figures'
        curves[f'{folder}/{name}'] = [(moment.stamp_s, moment.figures.get(name)) for moment in moments]
    for path, points in curves.items():
        points = [(stamp, float(value)) for stamp, value in points if value is not None and math.isfinite(value)]
        if points:
            _send_series(rr, stream, rr.new_entity_path(path.split('/', 1)), *np.array(points).T, None, path.split('/', 1)[1])


def _send_series(rr, stream, path, stamp_s, values, rgb, label):
    stream.log(path, rr.SeriesLines(colors=rgb and [rgb], names=label), static=True)
    stream.send_columns(path, [_time_column(rr, stamp_s)], rr.Scalars.columns(scalars=np.asarray(values, float)))


def _log_paths(rr, stream, moment):
    for kind, rgb in PATHS.items():
        tips = getattr(moment, f'{kind}_tip_m')
        tips = np.zeros((0, 3)) if tips is None else np.asarray(tips, float)
        tips = tips[np.isfinite(tips).all(1)]
        start = [] if moment.tip_m is None else [moment.tip_m]
        stream.log(f'fingertip/{kind}', rr.LineStrips3D([np.stack([*start, *tips])] if len(tips) else [], colors=[rgb], radii=0.004))
    if moment.tip_m is not None:
        stream.log('fingertip/now', rr.Points3D([moment.tip_m], colors=[MEASURED_RGB], radii=0.012))


def _blueprint(moments, joint_names, cameras):
    """Lay the recording out: pictures and the fingertip's path above, curves below, a tab per joint, refusals at the foot."""
    import rerun as rr
    import rerun.blueprint as rrb
    count = max((len(moment.pixels) for moment in moments if moment.pixels is not None), default=0)
    shown = [rrb.Spatial2DView(origin=rr.new_entity_path([folder, _part(cameras, index)]), name=f'{title}: {_part(cameras, index)}')
             for index in range(count) for folder, title in (('camera', 'seen'), ('imagined_camera', 'imagined far'))]
    above = rrb.Horizontal(*shown, rrb.Spatial3DView(origin='fingertip', name='fingertip: executed and planned, m'))
    names = {name for moment in moments for name in moment.figures}
    curves = [rrb.TimeSeriesView(origin=name, name=name) for name in ('typicality', 'strangeness') if name in names]
    joints = [_part(joint_names, index, 'joint') for index in range(len(moments[0].position_rad) if moments else 0)]
    below = rrb.Horizontal(rrb.Tabs(*(rrb.TimeSeriesView(origin=rr.new_entity_path(['joints', name]), name=f'{name}, rad') for name in joints)),
                           rrb.Vertical(rrb.TimeSeriesView(origin='reward', name='reward: predicted and realised'), *curves))
    timeline = TIMELINES[_clock(moments[0].stamp_s if moments else 0.0)]
    foot = rrb.TextLogView(origin='refusals', name='refused plans')
    return rrb.Blueprint(rrb.Vertical(above, below, foot, row_shares=[4, 5, 1]), rrb.TimePanel(timeline=timeline, state='collapsed'),
                         collapse_panels=True)


def _part(names, index, word='camera'):
    return str(names[index]) if index < len(names) else f'{word} {index}'


def _clock(stamp_s):
    """Say what stamps like this one are for rerun."""
    return 'timestamp' if stamp_s > EPOCH_S else 'duration'


def _set_time(stream, stamp_s):
    stream.set_time(TIMELINES[_clock(stamp_s)], **{_clock(stamp_s): stamp_s})


def _time_column(rr, stamp_s):
    return rr.TimeColumn(TIMELINES[_clock(stamp_s[0])], **{_clock(stamp_s[0]): stamp_s})
