"""A model's networks as ONNX graphs beside its weights."""
from pathlib import Path

import torch

from diffusion_planner.runtime import graphs, graphs_guided, packaging
from diffusion_planner.runtime.onnx_judging import strange_graph
from diffusion_planner.runtime.onnx_rows import row_name
from diffusion_planner.runtime.tracing import ExportError, trace

OPSET = 23                          # the first with attention as one operator
BATCH, ROWS, TOKENS = 5, 17, 7      # sizes of the examples; each unlike every other


class Examples:
    """Inputs of the graphs of a network, at random: {name: tensor}, and the letters of their axes."""

    def __init__(self, network):
        config, layout = network.config, network.layout
        width, known, embedding, heads = layout.width, len(config.context_offset_s), network.guide_head.posture[-1].out_features, len(network.guides())
        table = {row_name(number): torch.randn(ROWS, config.width) for number in range(6 * config.depth + 3)}
        self.joints, self.latent, self.embedding, self.known, self.picture_shape = layout.joints, config.latent, embedding, known, config.picture_shape
        self.from_pictures = config.goal == 'pictures'
        self.told = layout.cameras * config.latent if self.from_pictures else layout.joints
        self.step, self.path = self._step(width, 1) | table, self._step(width, TOKENS) | table
        self.step_letters = {name: {0: 'B'} for name in ('noisy', 'index', 'fade', 'far_s', 'upstream')} | {name: {0: 'N'} for name in table}
        self.path_letters = {'noisy': {0: 'P', 1: 'T'}, 'fade': {0: 'P', 1: 'T'}, 'index': {0: 'P', 1: 'S'}} | {name: {0: 'N'} for name in table}
        self.near = {'origin': torch.randn(1, width), 'far_s': torch.rand(BATCH) + 0.5}
        self.read = {'places': torch.randn(heads, 1, embedding), 'sharpness': -torch.rand(heads, 1), 'widths': torch.rand(heads, 1)}
        self.far, self.tokens = torch.randn(BATCH, width), torch.randn(BATCH, TOKENS, width)

    def _step(self, width, tokens):
        return {'known': torch.randn(self.known, width), 'noisy': torch.randn(BATCH, tokens, width),
                'index': torch.randint(0, ROWS, (BATCH, self.known + tokens)), 'fade': torch.rand(BATCH, tokens, 2)}

    def pick(self, *names):
        return {name: {**self.near, **self.read}[name] for name in names}


def recipes(network):
    """List what is exported: -> {file name: (module, {input: example}, outputs, letters)}"""
    given = Examples(network)
    return {**_steps(network, given), **_judgements(network, given), **(_of_pictures(network, given) if network.config.cameras else {})}


def _steps(network, given):
    """What samples: see graphs_guided"""
    denoiser, rows = network.denoiser, {'level': torch.rand(ROWS), 'offset_s': torch.rand(ROWS)}
    heads = len(network.guides())
    pulled = given.pick('origin', 'far_s', 'places', 'sharpness') | {'share': torch.full((heads,), 1 / heads), 'mix': torch.ones(3)}
    at_level = {'position': torch.randn(BATCH, given.joints), 'level': torch.rand(BATCH), 'place': torch.randn(1, given.embedding), 'width': torch.rand(1)}
    first = ('known', 'noisy', 'index', 'fade')
    step, table = {name: given.step[name] for name in first}, {name: row for name, row in given.step.items() if name not in first}
    return {
        'conditions': (graphs_guided.Conditions(denoiser), rows, ['rows'], {name: {0: 'N'} for name in rows}),
        'imagine': (graphs_guided.Imagine(denoiser), given.path, ['clean'], given.path_letters),
        'far': (graphs_guided.Far(network), {**step, **pulled, **table}, ['clean', 'value', 'gradient', 'odds'], given.step_letters),
        'pull_back': (graphs_guided.PullBack(network), {**step, 'upstream': torch.randn(BATCH, given.joints), **table}, ['gradient'], given.step_letters),
        'at_level': (graphs_guided.AtLevel(network), at_level, ['value', 'gradient'], {'position': {0: 'B'}, 'level': {0: 'B'}}),
        'fill': (graphs_guided.Fill(network), given.path, ['clean', 'gradient'], given.path_letters)}


def _judgements(network, given):
    """What the heads read off a context, and say of tokens and paths."""
    told = {'told': torch.randn(given.known, given.told)} | ({'level': torch.rand(given.known)} if given.from_pictures else {})
    far = {'far': given.far, **given.pick('origin', 'far_s', 'places', 'widths'), 'judge_place': torch.randn(1, given.embedding), 'judge_width': torch.rand(1)}
    paths = {'tokens': given.tokens, 'offset_s': torch.rand(BATCH, TOKENS).cumsum(1), **given.pick('origin')}
    return {
        'places': (graphs.Places(network), told, ['places', 'sharpness', 'widths', 'judge_place', 'judge_width'], {}),
        'judge_far': (graphs.JudgeFar(network), far, ['said', 'judge', 'reach'], {'far': {0: 'B'}, 'far_s': {0: 'B'}}),
        'judge_paths': (graphs.JudgePaths(network), paths, ['familiarity', 'familiarity_cubic', 'steps', 'genuineness', 'consistency_rad'],
                        {'tokens': {0: 'P', 1: 'T'}, 'offset_s': {0: 'P', 1: 'T'}})}


def _of_pictures(network, given):
    """What turns pictures into latents and back, and says how strange they are, one picture at a time."""
    pixels, latent = torch.randint(0, 256, (TOKENS, *given.picture_shape), dtype=torch.uint8), torch.randn(TOKENS, given.latent)
    cameras = len(network.config.cameras)
    whose = {'camera': torch.arange(TOKENS) % cameras} if cameras > 1 else {}
    found = {'pictures': (graphs.Pictures(network), {'pixels': pixels, **whose}, ['latent'], {'pixels': {0: 'N'}, 'camera': {0: 'N'}}),
             'picture': (graphs.Picture(network), {'latent': latent}, ['pixels'], {'latent': {0: 'N'}})}
    for camera in range(cameras if network.config.strangeness else 0):
        found[strange_graph(camera)] = graphs.Strange(network, camera), {'pixels': pixels[:1], 'latent': latent[:1]}, ['missed', 'distances'], {}
    return found


def write_graphs(network, weights_file, folder, tell=lambda name: None):
    """Trace every graph of a model: -> {name: sha256}, written to folder as NAME.onnx. `tell(name)` is called before each.

    Raises ExportError, which names the graph.
    """
    weights, written = packaging.Weights(weights_file), {}
    for name, (module, example, outputs, letters) in recipes(network).items():
        tell(name)
        try:
            model = trace(module.eval(), example, outputs, {given: axes for given, axes in letters.items() if given in example}, opset=OPSET)
        except ExportError as error:
            raise ExportError(f'{name}: {error}') from None
        packaging.refer(model, weights)
        written[name] = packaging.write(model, Path(folder) / f'{name}.onnx')
    return written
