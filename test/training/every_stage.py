"""Train every stage, judges included, on a tiny setting, as one of several processes: python every_stage.py CONFIG DATA OUT"""
import os
import sys
from pathlib import Path

from tiny import SETTINGS

from diffusion_planner.training import curves, identity, imagined, run, trainer

STAGES = ('representation', 'heads', 'familiarity', 'denoiser', 'panel', 'transition', 'genuineness', 'flaw')
STAGE = {'steps': 6, 'batch': 64, 'learning_rate': 1e-3}
EVERY = SETTINGS | {'checkpoint_every': 2} | {name: STAGE for name in STAGES} | {'representation': STAGE | {'batch': 16}}
original = imagined.imagine


def few(job, head, episodes, rounds, **how):
    """A few rollouts where a real run makes thousands."""
    return original(job, head, episodes, 4, batch=16, **how)


def train(config, data, out):
    """Train in two goes, as on the command line."""
    trainer.train(config, data, out)
    trainer.train(config, data, out, stage='judges')


def hasten(put=setattr):
    """Imagine little, log every step, and draw nothing: a picture takes longer than this training."""
    for module, name, value in ((imagined, 'imagine', few), (run, 'LOG_EVERY', 1), (curves, 'draw', lambda folder, out: out)):
        put(module, name, value)


def main(config, data, out):
    """Train, and leave a note of each stage's average as this process has it."""
    hasten()
    notes, ended = Path(out) / f'averages-{os.environ["RANK"]}.txt', run.Run.train

    def noted(self, *arguments, **options):
        average = ended(self, *arguments, **options)
        with notes.open('a') as file:
            print(self.name, identity.of_weights(average), file=file)
        return average
    run.Run.train = noted
    train(config, data, out)


if __name__ == '__main__':
    main(*sys.argv[1:])
