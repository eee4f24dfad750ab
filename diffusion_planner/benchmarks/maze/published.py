"""What the papers print for D4RL's Maze2D, beside which ours are shown: a yardstick, not a like-for-like comparison."""

# (U-Maze, Medium, Large) as each paper prints it; of single-task Maze2D, goal fixed.
PUBLISHED = {'IQL': (47.4, 34.9, 58.6), 'Diffuser': (113.9, 121.5, 123.0), 'Diffusion Forcing': (116.7, 149.4, 159.0),
             'Hierarchical Diffuser': (128.4, 135.6, 155.8), 'Diffusion Veteran (latched)': (136.6, 150.7, 203.6),
             'HorizonFlow': (137.5, 154.8, 205.2)}
CAVEATS = (
    "Published elsewhere: on D4RL's own data and environment, with each paper's own network and code; nothing of it was run here.",
    'Diffusion Veteran latches: every step after the first rewarded one counts, so its row belongs beside the column "latched".',
    "Whether Diffusion Forcing's row is normalised is not clear from its code; scores of all of them vary widely between re-runs.",
    "Diffusion Veteran's way here (best of N) goes without its value critic, so a goal beyond its horizon is invisible to it.")


def rows():
    """List the published rows: -> [{'method', 'umaze', 'medium', 'large', 'average'}]"""
    return [{'method': name, **dict(zip(('umaze', 'medium', 'large'), scores)), 'average': round(sum(scores) / 3, 1)}
            for name, scores in PUBLISHED.items()]
