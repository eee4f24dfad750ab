"""Windows for the denoiser: a few tokens of the past, a far token, and fill-in tokens between."""
import numpy as np

STALE_S = 0.4      # a picture may be this old when it meets a token, in training as on the arm
NEVER = -1


class Windows:
    """Draws windows as rows of joint samples and pictures.

    A token at some instant carries the joints of that instant, and the newest picture and the newest readings of sensors by then.
    """

    def __init__(self, episodes, context_offset_s, horizon_s):
        self.episodes, self.context_offset_s, self.horizon_s = episodes, np.array(context_offset_s), horizon_s
        self.period_s = float(episodes.stamp_s[1] - episodes.stamp_s[0])
        self.frame_period_s = float(episodes.frame_stamp_s[1] - episodes.frame_stamp_s[0])
        self.joint_count, self.frame_count = np.diff(episodes.joint_start), np.diff(episodes.frame_start)

    def draw(self, candidates, count, fill, random):
        """Draw windows of episodes.

        draw(candidates [E], count B, fill F, random) ->
        joint_row, frame_row, sensor_row: the joint sample whose sensors are read, offset_s, present bool, all [B, C + F + 1]
        """
        episode = random.choice(candidates, count)
        last = (self.joint_count[episode] - 1) * self.period_s
        now = random.random(count) * (last - self.period_s)
        far = np.minimum(random.uniform(self.period_s, self.horizon_s, count), last - now)
        between = np.arange(1, fill + 1) / (fill + 1)
        uneven = np.sort(random.random((count, fill)), 1)
        between = np.where(random.random((count, 1)) < 0.7, between, uneven)
        offset_s = np.concatenate([np.repeat(self.context_offset_s[None], count, 0), between * far[:, None], far[:, None]], 1)
        return self.rows(episode, now, offset_s, self._delay(random, count, fill))

    def _delay(self, random, count, fill):
        """Draw how old picture and readings of the origin token are: on the arm that token lies a little in the future."""
        delay = np.zeros((count, len(self.context_offset_s) + fill + 1))
        delay[:, len(self.context_offset_s) - 1] = random.uniform(0, STALE_S, count) * (random.random(count) < 0.7)
        return delay

    def rows(self, episode, now, offset_s, delay):
        """Look up the samples of given instants, see draw."""
        instant = now[:, None] + offset_s
        joint = np.round(instant / self.period_s).astype(int)
        present = joint >= 0
        joint = np.clip(joint, 0, self.joint_count[episode][:, None] - 1)
        sensor = np.clip(np.round((instant - delay) / self.period_s).astype(int), 0, joint)
        # A hair is added: a picture taken at this very instant counts, whatever the rounding.
        frame = np.floor((instant - delay) / self.frame_period_s + 1e-3).astype(int)
        frame = np.clip(frame, 0, self.frame_count[episode][:, None] - 1)
        begin = self.episodes.joint_start[episode][:, None]
        offset_s = np.where(present, (joint * self.period_s) - np.round(now / self.period_s)[:, None] * self.period_s, offset_s)
        return begin + joint, self.episodes.frame_start[episode][:, None] + frame, begin + sensor, offset_s.astype(np.float32), present
