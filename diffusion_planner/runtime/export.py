"""A model's networks as ONNX graphs beside its weights."""
from pathlib import Path

import torch

from diffusion_planner.runtime import graphs, packaging
from diffusion_planner.runtime.onnx_rows import row_name
from diffusion_planner.runtime.tracing import ExportError, trace

OPSET = 23     # the first with attention as one operator


def recipes(network):
    """List what is exported: -> {file name: (module, {input: example}, outputs, letters)}"""
    config, layout = network.config, network.layout
    width, joints, known = layout.width, layout.joints, len(config.context_offset_s)
    heads, embedding = len(network.guides()), network.guide_head.posture[-1].out_features
    told = layout.cameras * config.latent if config.goal == 'pictures' else joints
    batch, rows, tokens = 5, 17, 7       # sizes of the example; each unlike every other
    step = {'known': torch.randn(known, width), 'noisy': torch.randn(batch, 1, width),
            'index': torch.randint(0, rows, (batch, known + 1)), 'fade': torch.rand(batch, 1, 2)}
    path = {**step, 'noisy': torch.randn(batch, tokens, width), 'index': torch.randint(0, rows, (batch, known + tokens)),
            'fade': torch.rand(batch, tokens, 2)}
    table = {row_name(number): torch.randn(rows, config.width) for number in range(6 * config.depth + 3)}
    origin, far_s = torch.randn(1, width), torch.rand(batch) + 0.5
    read = {'places': torch.randn(heads, 1, embedding), 'sharpness': -torch.rand(heads, 1)}
    pulled = {'origin': origin, 'far_s': far_s, **read, 'share': torch.full((heads,), 1 / heads), 'mix': torch.ones(3)}
    each = {name: {0: 'B'} for name in ('noisy', 'index', 'fade', 'far_s')} | {name: {0: 'N'} for name in table}
    spread = {'noisy': {0: 'P', 1: 'T'}, 'fade': {0: 'P', 1: 'T'}, 'index': {0: 'P', 1: 'S'}} | {name: {0: 'N'} for name in table}
    far_step = ['clean', 'value', 'gradient', 'odds']
    found = {
        'places': (graphs.Places(network), {'told': torch.randn(known, told), **({'level': torch.rand(known)} if config.goal == 'pictures' else {})},
                   ['places', 'sharpness', 'widths', 'judge_place', 'judge_width'], {}),
        'conditions': (graphs.Conditions(network.denoiser), {'level': torch.rand(rows), 'offset_s': torch.rand(rows)}, ['rows'],
                       {'level': {0: 'N'}, 'offset_s': {0: 'N'}}),
        'imagine': (graphs.Imagine(network.denoiser), {**path, **table}, ['clean'], spread),
        'far': (graphs.Far(network), {**step, **pulled, **table}, far_step, each),
        'pull_back': (graphs.PullBack(network), {**step, 'upstream': torch.randn(batch, joints), **table}, ['gradient'], {**each, 'upstream': {0: 'B'}}),
        'at_level': (graphs.AtLevel(network), {'position': torch.randn(batch, joints), 'level': torch.rand(batch),
                                               'place': torch.randn(1, embedding), 'width': torch.rand(1)}, ['value', 'gradient'],
                     {'position': {0: 'B'}, 'level': {0: 'B'}}),
        'fill': (graphs.Fill(network), {**path, **table}, ['clean', 'gradient'], spread),
        'judge_far': (graphs.JudgeFar(network), {'far': torch.randn(batch, width), 'origin': origin, 'far_s': far_s, 'places': read['places'],
                                                 'widths': torch.rand(heads, 1), 'judge_place': torch.randn(1, embedding), 'judge_width': torch.rand(1)},
                      ['said', 'judge', 'reach'], {'far': {0: 'B'}, 'far_s': {0: 'B'}}),
        'judge_paths': (graphs.JudgePaths(network), {'tokens': torch.randn(batch, tokens, width), 'offset_s': torch.rand(batch, tokens).cumsum(1),
                                                     'origin': origin},
                        ['familiarity', 'familiarity_cubic', 'steps', 'genuineness', 'consistency_rad'], {'tokens': {0: 'P', 1: 'T'}, 'offset_s': {0: 'P', 1: 'T'}}),
    }
    if config.cameras:
        pixels = torch.randint(0, 256, (tokens, *config.picture_shape), dtype=torch.uint8)
        latent = torch.randn(tokens, config.latent)
        found['pictures'] = graphs.Pictures(network), {'pixels': pixels}, ['latent'], {'pixels': {0: 'N'}}
        found['picture'] = graphs.Picture(network), {'latent': latent}, ['pixels'], {'latent': {0: 'N'}}
        if config.strangeness:
            found['strange'] = graphs.Strange(network), {'pixels': pixels[:1], 'latent': latent[:1]}, ['missed', 'distances'], {}     # one picture at a time
    return found


def write_graphs(network, weights_file, folder, tell=lambda name: None):
    """Trace every graph of a model: -> {name: sha256}, written to folder as NAME.onnx. `tell(name)` is called before each."""
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
