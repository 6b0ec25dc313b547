"""Every layer against PyTorch's: signature, repr, state keys, outputs, gradients, buffers."""

from __future__ import annotations

import inspect
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from nn_parity import assert_close, assert_same_behaviour, make_pair, text, to_thalweg

import thalweg


def real(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(*shape, requires_grad=True)


def positive(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: (torch.rand(*shape) * 0.8 + 0.1).requires_grad_()


def fixed(*shape: int) -> Callable[[], torch.Tensor]:
    """Positive numbers that are data, not differentiated."""
    return lambda: torch.rand(*shape) * 0.8 + 0.1


def whole(high: int, *shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randint(0, high, shape)


def signs(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randint(0, 2, shape).float() * 2 - 1


def normalised(*shape: int) -> Callable[[], torch.Tensor]:
    return lambda: torch.randn(*shape).softmax(-1)


IMAGE = real(2, 4, 7, 6)
SERIES = real(2, 4, 9)
VOLUME = real(2, 4, 5, 4, 6)

# name, positional arguments, keyword arguments, makers of the inputs
Case = tuple[str, tuple[Any, ...], dict[str, Any], tuple[Callable[[], torch.Tensor], ...]]

LINEAR: list[Case] = [
    ("Identity", (3, 4), {"any": 1}, (real(2, 3),)),
    ("Linear", (5, 3), {}, (real(4, 5),)),
    ("Linear", (5, 3), {"bias": False}, (real(2, 3, 5),)),
    ("Linear", (5, 3), {}, (real(5),)),
    ("Bilinear", (3, 4, 2), {}, (real(5, 3), real(5, 4))),
    ("Bilinear", (3, 4, 2, False), {}, (real(2, 5, 3), real(2, 5, 4))),
    ("Flatten", (), {}, (VOLUME,)),
    ("Flatten", (0, 2), {}, (VOLUME,)),
    ("Unflatten", (1, (2, 2)), {}, (IMAGE,)),
    ("Unflatten", (-1, (3, -1)), {}, (IMAGE,)),
]

CONVOLUTION: list[Case] = [
    ("Conv1d", (4, 6, 3), {}, (SERIES,)),
    ("Conv1d", (4, 6, 3), {"padding": "same", "dilation": 2}, (SERIES,)),
    ("Conv1d", (4, 6, 4), {"padding": "same"}, (SERIES,)),
    ("Conv2d", (4, 6, 3), {"stride": 2, "padding": 1}, (IMAGE,)),
    ("Conv2d", (4, 6, (3, 2)), {"groups": 2, "bias": False}, (IMAGE,)),
    ("Conv2d", (4, 8, 3), {"groups": 4, "dilation": (2, 1), "padding": (1, 2)}, (IMAGE,)),
    ("Conv2d", (4, 6, 3), {"padding": "valid"}, (real(4, 7, 6),)),
    ("Conv2d", (4, 6, 3), {"padding": 1, "padding_mode": "reflect"}, (IMAGE,)),
    ("Conv2d", (4, 6, 3), {"padding": (2, 1), "padding_mode": "circular"}, (IMAGE,)),
    ("Conv2d", (4, 6, 4), {"padding": "same", "padding_mode": "replicate"}, (IMAGE,)),
    ("Conv3d", (4, 2, 2), {"stride": (1, 2, 1), "padding": 1}, (VOLUME,)),
    ("ConvTranspose1d", (4, 6, 3), {"stride": 2, "output_padding": 1}, (SERIES,)),
    ("ConvTranspose2d", (4, 6, 3), {"stride": 2, "padding": 1, "bias": False}, (IMAGE,)),
    ("ConvTranspose2d", (4, 6, (2, 3)), {"groups": 2, "dilation": 2}, (IMAGE,)),
    ("ConvTranspose3d", (4, 2, 2), {"stride": 2}, (VOLUME,)),
]

POOLING: list[Case] = [
    ("MaxPool1d", (3,), {"stride": 2, "padding": 1}, (SERIES,)),
    ("MaxPool2d", (2,), {}, (IMAGE,)),
    ("MaxPool2d", ((3, 2),), {"stride": (2, 1), "ceil_mode": True}, (IMAGE,)),
    ("MaxPool2d", (2,), {"return_indices": True}, (IMAGE,)),
    ("MaxPool2d", (2,), {"dilation": 2}, (real(4, 7, 6),)),
    ("MaxPool3d", (2,), {}, (VOLUME,)),
    ("AvgPool1d", (3,), {"padding": 1}, (SERIES,)),
    ("AvgPool2d", (3, 2), {"padding": 1, "count_include_pad": False}, (IMAGE,)),
    ("AvgPool2d", (2,), {"ceil_mode": True, "divisor_override": 3}, (IMAGE,)),
    ("AvgPool3d", (2,), {}, (VOLUME,)),
    ("LPPool1d", (2, 3), {}, (positive(2, 4, 9),)),
    ("LPPool2d", (2, 2), {"stride": 1}, (positive(2, 4, 7, 6),)),
    ("LPPool3d", (2, 2), {}, (positive(2, 4, 5, 4, 6),)),
    ("AdaptiveAvgPool1d", (4,), {}, (SERIES,)),
    ("AdaptiveAvgPool2d", ((3, None),), {}, (IMAGE,)),
    ("AdaptiveAvgPool2d", (1,), {}, (IMAGE,)),
    ("AdaptiveAvgPool3d", (2,), {}, (VOLUME,)),
    ("AdaptiveMaxPool1d", (4,), {}, (SERIES,)),
    ("AdaptiveMaxPool2d", ((3, 2),), {"return_indices": True}, (IMAGE,)),
    ("AdaptiveMaxPool3d", (2,), {}, (VOLUME,)),
]

NORMALISATION: list[Case] = [
    ("BatchNorm1d", (4,), {}, (SERIES,)),
    ("BatchNorm1d", (4,), {"affine": False}, (real(6, 4),)),
    ("BatchNorm2d", (4,), {}, (IMAGE,)),
    ("BatchNorm2d", (4,), {"momentum": None}, (IMAGE,)),
    ("BatchNorm2d", (4,), {"track_running_stats": False, "eps": 1e-3}, (IMAGE,)),
    ("BatchNorm2d", (4,), {"bias": False}, (IMAGE,)),
    ("BatchNorm3d", (4,), {"momentum": 0.3}, (VOLUME,)),
    ("InstanceNorm1d", (4,), {}, (SERIES,)),
    ("InstanceNorm2d", (4,), {"affine": True}, (IMAGE,)),
    ("InstanceNorm2d", (4,), {"track_running_stats": True}, (IMAGE,)),
    ("InstanceNorm2d", (4,), {"affine": True}, (real(4, 7, 6),)),
    ("InstanceNorm3d", (4,), {}, (VOLUME,)),
    ("LayerNorm", (6,), {}, (IMAGE,)),
    ("LayerNorm", ((7, 6),), {"bias": False, "eps": 1e-3}, (IMAGE,)),
    ("LayerNorm", ([6],), {"elementwise_affine": False}, (IMAGE,)),
    ("RMSNorm", (6,), {}, (IMAGE,)),
    ("RMSNorm", ((7, 6),), {"eps": 1e-3, "elementwise_affine": False}, (IMAGE,)),
    ("GroupNorm", (2, 4), {}, (IMAGE,)),
    # One element to a group: in exact arithmetic the gradient is zero, so in single precision
    # rounding errors, multiplied by 1 / sqrt(eps), would be all there is to compare.
    (
        "GroupNorm",
        (4, 4),
        {"affine": False},
        (lambda: real(3, 4)().detach().double().requires_grad_(),),
    ),
    ("LocalResponseNorm", (3,), {"alpha": 0.1}, (IMAGE,)),
]

ACTIVATION: list[Case] = [
    (name, args, {}, (real(3, 4),))
    for name, args in [
        ("ReLU", ()),
        ("ReLU6", ()),
        ("SiLU", ()),
        ("Mish", ()),
        ("Hardswish", ()),
        ("Hardsigmoid", ()),
        ("SELU", ()),
        ("Sigmoid", ()),
        ("Tanh", ()),
        ("Tanhshrink", ()),
        ("Softsign", ()),
        ("LogSigmoid", ()),
        ("GELU", ()),
        ("GELU", ("tanh",)),
        ("ELU", (0.7,)),
        ("CELU", (0.7,)),
        ("LeakyReLU", (0.2,)),
        ("PReLU", ()),
        ("PReLU", (4,)),
        ("Hardtanh", (-0.5, 0.7)),
        ("Threshold", (0.1, 20)),
        ("Hardshrink", ()),
        ("Softshrink", (0.3,)),
        ("Softplus", (2.0, 1.5)),
        ("GLU", ()),
        ("GLU", (1,)),
        ("Softmax", (1,)),
        ("Softmin", (0,)),
        ("LogSoftmax", (-1,)),
    ]
] + [("Softmax2d", (), {}, (IMAGE,))]

PADDING: list[Case] = [
    (f"{kind}Pad{dims}d", (padding, *((1.5,) if kind == "Constant" else ())), {}, (x,))
    for dims, x in ((1, SERIES), (2, IMAGE), (3, VOLUME))
    for kind in ("Zero", "Constant", "Reflection", "Replication", "Circular")
    for padding in (2, tuple(range(2 * dims))[::-1] if dims == 1 else (1, 2) * dims)
]

RESAMPLING: list[Case] = [
    ("Upsample", (), {"scale_factor": 2}, (IMAGE,)),
    ("Upsample", ((5, 9),), {"mode": "bilinear"}, (IMAGE,)),
    ("Upsample", (14,), {"mode": "linear", "align_corners": True}, (SERIES,)),
    ("UpsamplingNearest2d", ((9, 5),), {}, (IMAGE,)),
    ("UpsamplingBilinear2d", (), {"scale_factor": (2, 3)}, (IMAGE,)),
    ("PixelShuffle", (2,), {}, (IMAGE,)),
    ("PixelUnshuffle", (2,), {}, (real(2, 3, 4, 6),)),
    ("ChannelShuffle", (2,), {}, (IMAGE,)),
    ("Unfold", ((2, 3),), {"padding": 1, "stride": 2}, (IMAGE,)),
    ("Fold", ((4, 5), (2, 3)), {"padding": 1}, (real(2, 12, 25),)),
    ("Fold", ((4, 5), (2, 2)), {}, (real(2, 8, 12),)),
]

LOSS: list[Case] = [
    (name, (), options | {"reduction": reduction}, inputs)
    for reduction in ("mean", "sum", "none")
    for name, options, inputs in [
        ("L1Loss", {}, (real(3, 4), real(3, 4))),
        ("MSELoss", {}, (real(3, 4), real(3, 4))),
        ("SmoothL1Loss", {"beta": 0.5}, (real(3, 4), real(3, 4))),
        ("HuberLoss", {"delta": 0.5}, (real(3, 4), real(3, 4))),
        ("NLLLoss", {}, (real(5, 4), whole(4, 5))),
        ("NLLLoss", {"ignore_index": 2}, (real(5, 4, 3), whole(4, 5, 3))),
        ("NLLLoss", {"weight": torch.tensor([0.1, 0.5, 2.0, 1.0])}, (real(5, 4), whole(4, 5))),
        ("CrossEntropyLoss", {}, (real(5, 4), whole(4, 5))),
        ("CrossEntropyLoss", {"label_smoothing": 0.1}, (real(5, 4, 3), whole(4, 5, 3))),
        ("CrossEntropyLoss", {"ignore_index": 1}, (real(5, 4), whole(4, 5))),
        ("CrossEntropyLoss", {}, (real(5, 4), normalised(5, 4))),
        ("PoissonNLLLoss", {"full": True}, (real(3, 4), fixed(3, 4))),
        ("GaussianNLLLoss", {"full": True}, (real(3, 4), fixed(3, 4), positive(3, 4))),
        ("KLDivLoss", {}, (real(3, 4), normalised(3, 4))),
        ("KLDivLoss", {"log_target": True}, (real(3, 4), real(3, 4))),
        ("BCELoss", {}, (positive(3, 4), fixed(3, 4))),
        ("BCELoss", {"weight": torch.tensor([0.1, 0.5, 2.0, 1.0])}, (positive(3, 4), fixed(3, 4))),
        ("BCEWithLogitsLoss", {}, (real(3, 4), fixed(3, 4))),
        (
            "BCEWithLogitsLoss",
            {"pos_weight": torch.tensor([0.1, 0.5, 2.0, 1.0])},
            (real(3, 4), fixed(3, 4)),
        ),
        ("HingeEmbeddingLoss", {}, (real(3, 4), signs(3, 4))),
        ("SoftMarginLoss", {}, (real(3, 4), signs(3, 4))),
        ("MultiLabelMarginLoss", {}, (real(3, 4), lambda: torch.tensor([[3, 0, -1, 1]] * 3))),
        ("MultiLabelSoftMarginLoss", {}, (real(3, 4), whole(2, 3, 4))),
        ("MultiMarginLoss", {"p": 2, "margin": 0.7}, (real(5, 4), whole(4, 5))),
        ("CosineEmbeddingLoss", {"margin": 0.1}, (real(5, 4), real(5, 4), signs(5))),
        ("MarginRankingLoss", {"margin": 0.1}, (real(5), real(5), signs(5))),
        ("TripletMarginLoss", {"swap": True}, (real(5, 4), real(5, 4), real(5, 4))),
        ("TripletMarginWithDistanceLoss", {}, (real(5, 4), real(5, 4), real(5, 4))),
    ]
]

DISTANCE: list[Case] = [
    ("PairwiseDistance", (), {}, (real(5, 4), real(5, 4))),
    ("PairwiseDistance", (1.0,), {"keepdim": True}, (real(5, 4), real(5, 4))),
    ("CosineSimilarity", (), {}, (real(5, 4), real(5, 4))),
    ("CosineSimilarity", (0,), {}, (real(5, 4), real(5, 4))),
]

EMBEDDING: list[Case] = [
    ("Embedding", (6, 3), {}, (whole(6, 2, 4),)),
    ("Embedding", (6, 3), {"padding_idx": -2}, (whole(6, 2, 4),)),
    ("Embedding", (6, 3), {"scale_grad_by_freq": True}, (whole(6, 9),)),
    ("Embedding", (6, 3), {"max_norm": 1.0}, (whole(6, 9),)),
    ("EmbeddingBag", (6, 3), {}, (whole(6, 4, 5),)),
    ("EmbeddingBag", (6, 3), {"mode": "sum"}, (whole(6, 9), lambda: torch.tensor([0, 2, 2, 5]))),
    ("EmbeddingBag", (6, 3), {"mode": "max"}, (whole(6, 4, 5),)),
    ("EmbeddingBag", (6, 3), {"padding_idx": 1}, (whole(6, 4, 5),)),
]

CASES = [
    *LINEAR,
    *CONVOLUTION,
    *POOLING,
    *NORMALISATION,
    *ACTIVATION,
    *PADDING,
    *RESAMPLING,
    *LOSS,
    *DISTANCE,
    *EMBEDDING,
]


def label(case: Case) -> str:
    name, args, kwargs, _ = case
    options = [str(arg) for arg in args]
    options += [key if isinstance(v, torch.Tensor) else f"{key}={v}" for key, v in kwargs.items()]
    return f"{name}({','.join(options)})"


# PyTorch's own advice about two of the options compared here.
@pytest.mark.filterwarnings("ignore:Using padding='same' with even kernel")
@pytest.mark.filterwarnings("ignore:reduction. 'mean' divides the total loss")
@pytest.mark.parametrize("case", CASES, ids=label)
def test_layer_behaves_like_torch(case: Case) -> None:
    name, args, kwargs, makers = case
    torch.manual_seed(len(name))
    ours, theirs = make_pair(name, *args, **kwargs)
    assert text(ours) == text(theirs)
    assert list(ours.state_dict()) == list(theirs.state_dict())
    for _ in range(2):  # twice: buffers carry over from one call to the next
        assert_same_behaviour(ours, theirs, [make() for make in makers])
    ours.eval(), theirs.eval()
    assert_same_behaviour(ours, theirs, [make() for make in makers])


@pytest.mark.parametrize("name", ["Dropout", "Dropout1d", "Dropout2d", "Dropout3d", "AlphaDropout"])
def test_dropout_is_identity_in_eval_and_random_in_training(name: str) -> None:
    ours, theirs = make_pair(name, 0.5)
    assert text(ours) == text(theirs)
    x = thalweg.ones((4, 8, 3, 3, 2)[: {"1": 3, "2": 4}.get(name[-2], 5)])
    dropped = ours(x).numpy()
    assert 0 < (dropped == dropped.max()).sum() < dropped.size
    assert (ours.eval()(x).numpy() == 1).all()
    with pytest.raises(ValueError, match=r"between 0 and 1, but got 1\.5"):
        getattr(thalweg.nn, name)(1.5)


@pytest.mark.parametrize("name", ["Dropout1d", "Dropout2d", "Dropout3d"])
def test_channel_dropout_drops_whole_channels(name: str) -> None:
    dims = int(name[-2])
    dropped = getattr(thalweg.nn, name)(0.5)(thalweg.ones((16, 8) + (3,) * dims)).numpy()
    channels = dropped.reshape(16 * 8, -1)
    assert (channels == channels[:, :1]).all()
    assert set(channels[:, 0].tolist()) == {0.0, 2.0}


@pytest.mark.parametrize("dims", [1, 2, 3])
def test_unpooling_puts_maxima_back(dims: int) -> None:
    torch.manual_seed(dims)
    x = torch.randn(2, 3, *(6, 4, 4)[:dims], requires_grad=True)
    pool, _ = make_pair(f"MaxPool{dims}d", 2, return_indices=True)
    ours, theirs = make_pair(f"MaxUnpool{dims}d", 2)
    y = to_thalweg(x)
    our_back = ours(*pool(y))
    their_back = theirs(*getattr(torch.nn, f"MaxPool{dims}d")(2, return_indices=True)(x))
    assert_close(our_back, their_back)
    our_back.pow(2).sum().backward()
    their_back.pow(2).sum().backward()
    assert_close(y.grad, x.grad)


def test_ctc_loss() -> None:
    torch.manual_seed(1)
    targets = torch.tensor([[1, 2, 2], [3, 1, 0]])
    lengths = torch.tensor([6, 5]), torch.tensor([3, 2])
    for reduction in ("mean", "sum", "none"):
        ours, theirs = make_pair("CTCLoss", reduction=reduction)
        scores = torch.randn(6, 2, 4, requires_grad=True)
        our_scores = to_thalweg(scores)
        our_loss = ours(our_scores.log_softmax(-1), *map(to_thalweg, (targets, *lengths)))
        their_loss = theirs(scores.log_softmax(-1), targets, *lengths)
        assert_close(our_loss, their_loss)
        our_loss.sum().backward()
        their_loss.sum().backward()
        assert_close(our_scores.grad, scores.grad)


def test_random_leaky_relu() -> None:
    ours, theirs = make_pair("RReLU", 0.2, 0.6)
    slopes = -ours(-thalweg.ones(500)).numpy()
    assert slopes.min() >= 0.2 and slopes.max() <= 0.6 and slopes.std() > 0.05
    ours.eval(), theirs.eval()
    assert_same_behaviour(ours, theirs, [torch.randn(3, 4, requires_grad=True)])


def test_every_function_that_a_layer_calls_exists() -> None:
    folder = Path(inspect.getfile(thalweg.nn)).parent
    source = "".join(path.read_text() for path in folder.glob("*.py"))
    called = set(re.findall(r"\bF\.(\w+)", source))
    assert len(called) > 80
    assert not sorted(name for name in called if not hasattr(thalweg.nn.functional, name))


@pytest.mark.parametrize("name", ["LPPool1d", "MaxUnpool2d", "RReLU", "CTCLoss", "Embedding"])
def test_repr_of_the_rest(name: str) -> None:
    args = {"LPPool1d": (2, 3), "MaxUnpool2d": (2,), "Embedding": (3, 4)}.get(name, ())
    assert text(getattr(thalweg.nn, name)(*args)) == text(getattr(torch.nn, name)(*args))


MODULE_NAMES = sorted(
    name
    for name in thalweg.nn.__all__
    if isinstance(getattr(thalweg.nn, name), type)
    and issubclass(getattr(thalweg.nn, name), thalweg.nn.Module)
)


@pytest.mark.parametrize("name", MODULE_NAMES)
def test_signatures_are_torchs(name: str) -> None:
    """Names, order and plain defaults of the constructor's and forward's parameters."""

    def parameters(function: Any) -> list[tuple[Any, ...]]:
        return [
            (p.name, p.kind, None if callable(p.default) else p.default)
            for p in inspect.signature(function).parameters.values()
        ]

    ours, theirs = getattr(thalweg.nn, name), getattr(torch.nn, name)
    opaque = {"RNN", "LSTM", "GRU", "Module"}  # theirs say (*args, **kwargs)
    if (
        name not in opaque
        and parameters(theirs.__init__)[1:] != parameters(torch.nn.Module.__init__)[1:]
    ):
        assert parameters(ours.__init__) == parameters(theirs.__init__)
    if theirs.forward is not torch.nn.Module.forward:
        assert [p[0] for p in parameters(ours.forward)] == [
            p[0] for p in parameters(theirs.forward)
        ]
