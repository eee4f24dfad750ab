"""The processes that train one model together: one alone, or those that `accelerate launch` (or torchrun) started.

Every process draws the whole batch from the same random numbers and computes its own share of the rows; gradients are averaged.
So losses and weights are those of one process, up to the order of sums.
"""
import atexit
import contextlib
import datetime
import os
import zlib

import torch

SHARE = 8                                   # rows: losses take quarters of half batches
PATIENCE = datetime.timedelta(hours=12)     # what only the main process does may take long, and the others wait


class ProcessesError(ValueError):
    """Processes that cannot train together; the message says what they have and what was expected."""


def find_processes(device=None):
    """Join the processes that were launched together, or be alone, on `device` or the best there is: -> Processes

    Raises ProcessesError where accelerate started one process of several.
    """
    launched = 'ACCELERATE_MIXED_PRECISION' in os.environ
    if not launched and int(os.environ.get('WORLD_SIZE', 1)) == 1:
        return Processes(None, device)
    try:
        from accelerate import Accelerator, InitProcessGroupKwargs
    except ModuleNotFoundError:
        raise ProcessesError(f'WORLD_SIZE: got {os.environ["WORLD_SIZE"]}, expected 1 where accelerate is not installed') from None
    accelerator = Accelerator(cpu=not torch.cuda.is_available(), kwargs_handlers=[InitProcessGroupKwargs(timeout=PATIENCE)])
    atexit.register(accelerator.end_training)      # not before: one process may train twice, and joins the others only once
    if launched and accelerator.num_processes == 1 and 'MASTER_ADDR' in os.environ:
        raise ProcessesError('accelerate launch: got 1 process, expected several: without GPUs it starts them only with --multi_gpu')
    return Processes(accelerator, device)


class Processes:
    """This process among `count`, of which the main one alone writes and prints."""

    def __init__(self, accelerator=None, device=None):
        self.accelerator = accelerator
        self.index, self.count = (accelerator.process_index, accelerator.num_processes) if accelerator else (0, 1)
        self.main, self.on_machine = self.index == 0, int(os.environ.get('LOCAL_WORLD_SIZE', 1)) if self.count > 1 else 1
        best = accelerator.device if accelerator else 'cuda' if torch.cuda.is_available() else 'cpu'
        self.device = torch.device(device or best)

    def own(self, total):
        """Return the slice of a batch's rows that is this process's."""
        return slice(total * self.index // self.count, total * (self.index + 1) // self.count)

    def check_batch(self, where, batch):
        """Raises ProcessesError for a batch that does not part into equal shares."""
        if self.count > 1 and batch % (SHARE * self.count):
            raise ProcessesError(f'{where}: batch: got {batch}, expected a multiple of {SHARE * self.count}: {SHARE} for each of {self.count} processes')

    def check_same(self, where, what):
        """Raises ProcessesError where processes would start from different things, as without a folder that all machines share."""
        if self.count > 1:
            sums = self.accelerator.gather(torch.tensor([zlib.crc32(what.encode())], device=self.accelerator.device)).tolist()
            if len(set(sums)) > 1:
                raise ProcessesError(f'{where}: process {self.index} of {self.count}: got {what[:60]} ..., expected what the others start from: '
                                     'the same data, configuration and output folder on all machines')

    def quiet(self):
        """Keep the others' words to themselves."""
        return contextlib.nullcontext() if self.main else contextlib.redirect_stdout(open(os.devnull, 'w'))

    def autocast(self):
        """Compute in the precision that accelerate was configured for."""
        return self.accelerator.autocast() if self.accelerator else contextlib.nullcontext()

    def prepare(self, optimizer):
        """Let gradients that were scaled for half precision find back before the step."""
        return self.accelerator.prepare_optimizer(optimizer, device_placement=False) if self.accelerator else optimizer

    def backward(self, loss):
        (self.accelerator.backward if self.accelerator else torch.Tensor.backward)(loss)

    def average_gradients(self, parameters, stop):
        """Average gradients over processes, in one message that also says whether any was asked to stop: -> bool"""
        if self.count == 1:
            return stop
        gradients = [value.grad for value in parameters if value.grad is not None]
        message = torch.cat([*(part.flatten() for part in gradients), gradients[0].new_tensor([float(stop)])])
        *parts, stops = self._mean(message).split([*(part.numel() for part in gradients), 1])
        for gradient, part in zip(gradients, parts):
            gradient.copy_(part.view_as(gradient))
        return bool(stops > 0)

    def scaler_state(self):
        """Return what half precision remembers from step to step, or None."""
        return self.accelerator.scaler.state_dict() if self.accelerator and self.accelerator.scaler else None

    def restore_scaler(self, state):
        if state and self.accelerator and self.accelerator.scaler:
            self.accelerator.scaler.load_state_dict(state)

    def clip(self, parameters, largest):
        (self.accelerator or torch.nn.utils).clip_grad_norm_(parameters, largest)

    def mean(self, figures):
        """Average figures over processes: {name: number} -> {name: number}"""
        return figures if self.count == 1 else dict(zip(figures, self._mean(torch.tensor([*figures.values()], dtype=torch.float32)).tolist()))

    def _mean(self, message):
        return self.accelerator.reduce(message.to(self.accelerator.device), 'mean').to(message.device)

    @torch.no_grad()
    def agree(self, values):
        """Give tensors, in place, the main process's values: machines of different kinds round differently."""
        if self.count > 1:
            from accelerate.utils import broadcast
            for value in values:
                value.copy_(broadcast(value.detach().to(self.accelerator.device).contiguous()))

    def wait(self):
        """Wait until all processes are here."""
        if self.count > 1:
            self.accelerator.wait_for_everyone()
