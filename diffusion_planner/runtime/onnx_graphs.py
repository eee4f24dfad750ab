"""Graphs in ONNX Runtime: sessions, and buffers that are allocated once and bound for every call of the same shapes."""
import os
from collections import OrderedDict
from pathlib import Path
from threading import Lock

import numpy as np

from diffusion_planner.config import ConfigError
from diffusion_planner.runtime import providers
from diffusion_planner.runtime.checkpoint import ModelError

TYPES = {'tensor(float)': np.float32, 'tensor(int64)': np.int64, 'tensor(uint8)': np.uint8, 'tensor(double)': np.float64}
KEPT = 24      # shapes of one graph whose buffers are kept


def _share_threads(runtime, threads):
    """Give all sessions of this process one pool of threads: a pool each, waiting in a spin, would take the cores from one another.

    ONNX Runtime makes it once, so the first number that a process asks for stays.
    """
    global _threads
    with _sharing:
        if _threads is None:
            runtime.set_global_thread_pool_sizes(threads, 1)
            _threads = threads
        elif threads != _threads:
            raise ConfigError(f'threads: got {threads}, but this process runs ONNX graphs on {_threads} already; expected that, or another process')


def small_session(graph, options):
    """Make a session on one thread of its own, or on the shared ones once there are any, beside which nothing else is allowed: bytes or path -> session"""
    runtime = providers.runtime()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    with _sharing:      # which of the two holds must not change before the session is there
        options.use_per_session_threads = _threads is None
        return runtime.InferenceSession(graph, options, providers=['CPUExecutionProvider'])


_threads, _sharing = None, Lock()


class Session:
    """Loads the graphs of a model for one provider, each when it is first needed or all at once.

    Raises ConfigError for a provider that is missing, and ModelError for a graph that this ONNX Runtime cannot run.
    """

    def __init__(self, paths, provider='auto', threads=1):
        self.paths, self.provider, self.graphs = paths, provider, {}
        self.runtime = providers.runtime()
        self.runtime.set_default_logger_severity(3)
        self.in_force = ''
        _share_threads(self.runtime, threads)

    def __getattr__(self, name):
        if name.startswith('_') or name not in self.paths:
            raise AttributeError(name)
        if name not in self.graphs:
            self.graphs[name] = Graph(self._load(self.paths[name]), self.runtime)
        return self.graphs[name]

    def load(self, names):
        """Load graphs now, those of these names that there are."""
        for name in names:
            if name in self.paths:
                getattr(self, name)

    def _load(self, path):
        options = self.runtime.SessionOptions()
        options.use_per_session_threads = False
        options.log_severity_level = 3
        try:
            session = self.runtime.InferenceSession(str(path), options, providers=self._offered())
        except ConfigError:
            raise
        except Exception as error:    # ONNX Runtime's own errors share no class
            raise ModelError(f'{path}: ONNX Runtime {self.runtime.__version__} cannot run it: {str(error).splitlines()[0]}') from None
        providers.check_session(session, self.provider)
        self.in_force = session.get_providers()[0]
        return session

    def _offered(self):
        """List the providers with their options: engines that TensorRT builds are kept."""
        cache = Path(os.environ.get('XDG_CACHE_HOME', Path.home() / '.cache')) / 'diffusion_planner'
        own = {providers.PROVIDERS['tensorrt']: {'trt_engine_cache_enable': True, 'trt_engine_cache_path': str(cache)}}
        return [(name, own.get(name, {})) for name in providers.order_of(self.provider)]


class Graph:
    """One graph. Calls with arrays of the same shapes share buffers: what a call returns is overwritten by the next such call."""

    def __init__(self, session, runtime):
        self.session, self.runtime = session, runtime
        self.types = {given.name: TYPES[given.type] for given in session.get_inputs()}
        self.outputs = [made.name for made in session.get_outputs()]
        self.elsewhere = session.get_providers()[0] != providers.PROVIDERS['cpu']
        self._slots = OrderedDict()

    def shape(self, name):
        """The shape of an input, letters for what may vary: -> list"""
        return next(given.shape for given in self.session.get_inputs() if given.name == name)

    def __call__(self, **inputs):
        """Compute: {name: array} -> {name: array}"""
        return self.slot(*(np.shape(inputs[name]) for name in self.types)).put(**inputs).run()

    def slot(self, *sizes):
        """Find the buffers for inputs of certain sizes, by whatever names the sizes apart: -> Slot"""
        if sizes not in self._slots:
            self._slots[sizes] = Slot(self)
            while len(self._slots) > KEPT:
                self._slots.popitem(last=False)
        self._slots.move_to_end(sizes)
        return self._slots[sizes]


class Slot:
    """Buffers of a graph for inputs of certain shapes."""

    def __init__(self, graph):
        self.graph, self.binding, self.inputs, self.outputs = graph, graph.session.io_binding(), {}, None
        self._owned, self._version, self._stale = (), None, set()

    def put(self, **inputs):
        """Put values into the inputs' buffers: -> itself"""
        for name, value in inputs.items():
            if name in self.inputs:
                np.copyto(self.inputs[name], value, casting='same_kind')
                self._stale.add(name)
            else:
                self._bind(name, np.array(value, self.graph.types[name], order='C'))
        return self

    def own(self, buffers, version):
        """Bind arrays as the buffers of inputs themselves, never to be copied: {name: contiguous array of the input's type} -> itself

        version: what changes when their values do.
        """
        if self._version != version:
            if self._owned is not buffers:
                self._owned = buffers
                for name, buffer in buffers.items():
                    self._bind(name, buffer)
            self._version = version
            self._stale.update(buffers)
        return self

    def _bind(self, name, buffer):
        self.inputs[name] = buffer
        self.binding.bind_ortvalue_input(name, self.graph.runtime.OrtValue.ortvalue_from_numpy(buffer))

    def run(self):
        """Compute from what is in the buffers: -> {name: array}, overwritten by the next call"""
        if self.outputs is None:
            return self._run_first()
        if self.graph.elsewhere:      # a device has copies of what was bound, and sees no changes in place
            for name in self._stale:
                self._bind(name, self.inputs[name])
        self._stale.clear()
        self.graph.session.run_with_iobinding(self.binding)
        return self.outputs

    def _run_first(self):
        """Run once to learn how large the outputs are, and give them buffers: -> {name: array}"""
        found = self.graph.session.run(self.graph.outputs, self.inputs)
        self.outputs = {name: np.ascontiguousarray(value) for name, value in zip(self.graph.outputs, found)}
        for name, value in self.outputs.items():
            self.binding.bind_ortvalue_output(name, self.graph.runtime.OrtValue.ortvalue_from_numpy(value))
        return self.outputs
