"""Parts of PyTorch's surface beside tensors and modules, compared with PyTorch's own."""

import contextlib
import warnings
from collections import OrderedDict, namedtuple

import numpy as np
import pytest
import torch
import torch.utils._pytree as torch_tree
from torch.testing._internal.common_methods_invocations import op_db

import thalweg
from thalweg.tensor.attach import RECORDED
from thalweg.tensor.autocast import FLOAT32, LOWER
from thalweg.utils import pytree

# ---- autocast


def found_dtypes(value):
    if hasattr(value, "is_floating_point"):
        return [str(value.dtype).rpartition(".")[2]] if value.is_floating_point() else []
    return [d for v in value for d in found_dtypes(v)] if isinstance(value, (tuple, list)) else []


def mapped(value, change):
    if isinstance(value, torch.Tensor):
        return change(value.detach())
    if isinstance(value, (tuple, list)):
        return [mapped(v, change) for v in value]
    return value


def to_bfloat16(tensor):
    return tensor.bfloat16() if tensor.is_floating_point() else tensor


def to_thalweg(tensor):
    if tensor.dtype is torch.bfloat16:
        return thalweg.from_numpy(tensor.float().numpy()).bfloat16()
    return thalweg.from_numpy(np.array(tensor))


# PyTorch reaches the cast inside these only where they multiply matrices.
BY_PRODUCT = {"einsum", "tensordot"}
OTHERS = {"cat", "stack", "add", "exp", "sum", "softmax", "nn.functional.relu", "fft.fft",
          "nn.functional.layer_norm", "linalg.solve"}  # fmt: skip
NAMES = ((LOWER - BY_PRODUCT) | FLOAT32 | OTHERS) & set(RECORDED)
POLICY = sorted({o.name: o for o in op_db if o.name in NAMES and not o.variant_test_name}.items())


@pytest.mark.parametrize(("name", "op"), POLICY, ids=[name for name, _ in POLICY])
def test_autocast_chooses_pytorchs_dtypes(name, op):
    for sample in list(op.sample_inputs("cpu", torch.float32))[:2]:
        for narrow in (False, True):
            args = (sample.input, *sample.args)
            kwargs = {k: mapped(v, to_bfloat16) if narrow else v for k, v in sample.kwargs.items()}
            args = mapped(args, to_bfloat16) if narrow else args
            with contextlib.suppress(RuntimeError), warnings.catch_warnings():
                warnings.simplefilter("ignore")
                with torch.autocast("cpu", torch.bfloat16):
                    expected = found_dtypes(op.op(*args, **kwargs))
                with thalweg.amp.autocast("cpu", thalweg.bfloat16):
                    found = RECORDED[name](
                        *mapped(args, to_thalweg),
                        **{k: mapped(v, to_thalweg) for k, v in kwargs.items()},
                    )
                assert found_dtypes(found) == expected


def test_autocast_widens_what_is_joined():
    pair = [thalweg.ones(2), thalweg.ones(2).bfloat16()]
    with thalweg.amp.autocast("cpu"):
        assert thalweg.cat(pair).dtype is thalweg.float32
        assert thalweg.cat(pair[1:] * 2).dtype is thalweg.bfloat16


def test_autocast_nests_and_ends():
    x = thalweg.ones(2, 2)
    with thalweg.amp.autocast("cpu"):
        assert thalweg.einsum("ij,jk->ik", x, x).dtype is thalweg.bfloat16
        assert thalweg.tensordot(x, x, 1).dtype is thalweg.bfloat16
        assert (x @ x).dtype is thalweg.bfloat16 and thalweg.amp.is_autocast_enabled("cpu")
        with thalweg.amp.autocast("cpu", enabled=False):
            assert (x @ x).dtype is thalweg.float32
        with thalweg.amp.autocast("cpu", dtype=thalweg.float16):
            assert (x @ x).dtype is thalweg.float16
        assert (x.double() @ x.double()).dtype is thalweg.float64
    assert (x @ x).dtype is thalweg.float32 and not thalweg.amp.is_autocast_enabled("cpu")

    @thalweg.amp.autocast("cpu")
    def decorated():
        return x @ x

    assert decorated().dtype is thalweg.bfloat16
    with thalweg.amp.autocast("cuda"):
        assert (x @ x).dtype is thalweg.float32
    with pytest.warns(UserWarning, match="not supported"):
        thalweg.amp.autocast("cpu", dtype=thalweg.float32)


def test_gradients_flow_to_float32_parameters_through_autocast():
    results = []
    for engine in (torch, thalweg):
        engine.manual_seed(0)
        layer = engine.nn.Linear(3, 2)
        with engine.no_grad():
            layer.weight.copy_(engine.arange(6.0).reshape(2, 3) / 7)
            layer.bias.zero_()
        with engine.amp.autocast("cpu", dtype=engine.bfloat16):
            loss = engine.nn.functional.mse_loss(layer(engine.ones(4, 3)), engine.zeros(4, 2))
        loss.backward()
        results.append((loss.item(), layer.weight.grad.numpy()))
        assert str(layer.weight.grad.dtype).endswith("float32")
    assert results[0][0] == pytest.approx(results[1][0], rel=1e-2)
    np.testing.assert_allclose(results[0][1], results[1][1], rtol=2e-2)


def scaled_training(engine, gradients):
    """Scales after each step whose gradient is given; infinities make a step be skipped."""
    parameter = engine.nn.Parameter(engine.ones(2))
    optimizer = engine.optim.SGD([parameter], lr=0.5)
    scaler = engine.amp.GradScaler("cpu", init_scale=8.0, growth_interval=2)
    trace = []
    for gradient in gradients:
        optimizer.zero_grad()
        scaler.scale((parameter * gradient).sum()).backward()
        scaler.unscale_(optimizer)
        scaler.step(optimizer)
        scaler.update()
        trace.append((scaler.get_scale(), parameter.detach().numpy().copy().tolist()))
    state = scaler.state_dict()
    again = engine.amp.GradScaler("cpu")
    again.load_state_dict(state)
    return trace, state, again.get_scale()


def test_gradient_scaling_is_pytorchs():
    gradients = [1.0, 0.5, float("inf"), 1.0, 1.0, 1.0]
    assert scaled_training(thalweg, gradients) == scaled_training(torch, gradients)


@pytest.mark.parametrize("engine", [torch, thalweg], ids=["torch", "thalweg"])
def test_misuse_of_the_scaler_is_refused(engine):
    parameter = engine.nn.Parameter(engine.ones(2))
    optimizer = engine.optim.SGD([parameter], lr=0.5)
    scaler = engine.amp.GradScaler("cpu")
    with pytest.raises(AssertionError, match=r"No inf checks|_scale is None"):
        scaler.step(optimizer)
    scaler.scale(parameter.sum()).backward()
    scaler.unscale_(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.unscale_(optimizer)
    scaler.step(optimizer)
    with pytest.raises(RuntimeError, match="already been called"):
        scaler.step(optimizer)
    with pytest.raises(AssertionError, match="must be < 1"):
        engine.amp.GradScaler("cpu", backoff_factor=2.0)


# ---- nests


Point = namedtuple("Point", "x y")
NESTS = [3, None, [], (), {}, [1, (2, {"a": 3})], Point(1, [2, 3]), OrderedDict(b=1, a=(2,)),
         {"z": [1], "a": {"b": None}}]  # fmt: skip


@pytest.mark.parametrize("nest", NESTS, ids=str)
def test_nests_are_taken_apart_as_pytorch_does(nest):
    leaves, spec = pytree.tree_flatten(nest)
    assert leaves == torch_tree.tree_flatten(nest)[0]
    assert pytree.tree_unflatten(leaves, spec) == nest and spec.num_leaves == len(leaves)
    doubled = pytree.tree_map(lambda leaf: (leaf, leaf), nest)
    assert doubled == torch_tree.tree_map(lambda leaf: (leaf, leaf), nest)


def test_a_registered_class_is_a_node():
    class Pair:
        def __init__(self, a, b):
            self.a, self.b = a, b

    pytree.register_pytree_node(Pair, lambda p: ((p.a, p.b), None), lambda v, _: Pair(*v))
    made = pytree.tree_map_only(int, lambda leaf: leaf + 1, {"pair": Pair(1, "x")})
    assert made["pair"].a == 2 and made["pair"].b == "x"
    with pytest.raises(ValueError, match="already registered"):
        pytree.register_pytree_node(Pair, lambda p: ((), None), lambda v, _: None)
    with pytest.raises(ValueError, match="expected 2 leaves, got 1"):
        pytree.tree_unflatten([1], pytree.tree_structure([1, 2]))


# ---- compiling, checkpointing, profiling, processes


def test_compilers_leave_functions_and_modules_alone():
    from thalweg import compiler, jit

    module = thalweg.nn.Linear(2, 2)
    assert jit.script(module) is module and jit.trace(module, thalweg.ones(1, 2)) is module
    assert compiler.compile(module, mode="reduce-overhead") is module
    assert compiler.disable(recursive=False)(len) is len
    assert not jit.is_scripting() and not compiler.is_compiling()
    with pytest.raises(NotImplementedError, match=r"jit\.save.*state_dict"):
        jit.save(module, "x.pt")
    with pytest.raises(RuntimeError, match="can't be specified at the same time"):
        compiler.compile(module, mode="default", options={})


def test_compile_is_a_function_and_a_decorator():
    @thalweg.compile(mode="max-autotune", fullgraph=True)
    def doubled(x):
        return x * 2

    @thalweg.compile
    def tripled(x):
        return x * 3

    assert doubled(thalweg.ones(2)).tolist() == [2, 2]
    assert tripled(thalweg.ones(2)).tolist() == [3, 3]
    model = thalweg.compile(thalweg.nn.Linear(2, 1), backend="eager")
    model(thalweg.ones(1, 2)).sum().backward()
    assert model.weight.grad.tolist() == [[1, 1]]


def test_checkpointed_functions_have_the_same_gradients():
    from thalweg.utils.checkpoint import checkpoint, checkpoint_sequential

    layers = thalweg.nn.Sequential(*[thalweg.nn.Linear(3, 3) for _ in range(3)])
    x = thalweg.ones(2, 3, requires_grad=True)
    for result in (checkpoint(layers, x, use_reentrant=False),
                   checkpoint_sequential(layers, 2, x), layers(x)):  # fmt: skip
        (gradient,) = thalweg.autograd.grad(result.sum(), x)
        np.testing.assert_array_equal(gradient.numpy(), thalweg.autograd.grad(
            layers(x).sum(), x)[0].numpy())  # fmt: skip
    with pytest.raises(ValueError, match="Unexpected keyword"):
        checkpoint(layers, x, use_reentrant=True, mode=1)


def test_the_schedule_of_a_profiler_is_pytorchs():
    plan = {"wait": 1, "warmup": 1, "active": 2, "repeat": 2, "skip_first": 1}
    ours, theirs = thalweg.profiler.schedule(**plan), torch.profiler.schedule(**plan)
    assert [ours(i).name for i in range(12)] == [theirs(i).name for i in range(12)]


def test_data_parallel_on_no_device_calls_its_module():
    for engine in (torch, thalweg):
        module = engine.nn.Linear(2, 2)
        parallel = engine.nn.parallel.DataParallel(module)
        assert list(parallel.state_dict()) == ["module.weight", "module.bias"]
        x = engine.ones(1, 2)
        assert (parallel(x) == module(x)).all()
    with pytest.raises(RuntimeError, match="one process"):
        thalweg.nn.parallel.DistributedDataParallel(module)


def test_the_default_device():
    assert thalweg.get_default_device() == thalweg.device("cpu")
    with thalweg.device("cpu") as device:
        assert thalweg.zeros(1).device == device
    with pytest.raises(RuntimeError, match="is not available"), thalweg.device("cuda"):
        pass
    with pytest.raises(RuntimeError, match="is not available"):
        thalweg.set_default_device("cuda")


def test_typed_constructors():
    for engine in (torch, thalweg):
        made = engine.LongTensor([1, 2])
        assert str(made.dtype).endswith("int64") and isinstance(made, engine.LongTensor)
        assert not isinstance(made, engine.FloatTensor) and engine.FloatTensor(2, 3).shape == (2, 3)
        assert made.type() == "torch.LongTensor" and made.type("torch.FloatTensor").tolist() == [
            1,
            2,
        ]


@pytest.mark.parametrize("engine", [torch, thalweg], ids=["torch", "thalweg"])
def test_sizes_by_name_and_sizes_in_tensors(engine):
    x, two = engine.arange(6.0), engine.tensor(2)
    assert engine.zeros(size=(2, 3)).shape == (2, 3) and x.view(two, 3).shape == (2, 3)
    assert x.reshape((two, -1)).shape == (2, 3) and x.repeat(repeats=(2, 1)).shape == (2, 6)
    assert engine.randn(size=[2]).shape == (2,) and x.new_zeros(size=(3,)).shape == (3,)
    assert x.view(size=(two, 3)).shape == (2, 3)
    shown = x.view(2, 3).t()
    assert shown.as_strided((two, 2), shown.stride(), 1).tolist() == [[1, 4], [2, 5]]


def test_products_of_groups():
    from thalweg.ops.grouped import examples

    for a, b, ends in examples():
        found = thalweg.nn.functional.grouped_mm(
            thalweg.from_numpy(a), thalweg.from_numpy(b),
            offs=None if ends is None else thalweg.from_numpy(ends),
        ).numpy()  # fmt: skip
        starts = None if ends is None else [0, *ends[:-1]]
        if ends is None:
            expected = a @ b
        elif a.ndim == b.ndim == 2:
            expected = np.stack([a[:, s:e] @ b[s:e] for s, e in zip(starts, ends)])
        elif a.ndim == 2:
            expected = np.concatenate([a[s:e] @ b[g] for g, (s, e) in enumerate(zip(starts, ends))])
        else:
            expected = np.concatenate(
                [a[g] @ b[:, s:e] for g, (s, e) in enumerate(zip(starts, ends))], 1
            )
        np.testing.assert_allclose(found, expected)


@pytest.mark.parametrize(
    "normalised",
    [
        lambda f, x: f.instance_norm(x),
        lambda f, x: f.batch_norm(x, None, None, training=True),
        lambda f, x: f.layer_norm(x, (3,)),
        lambda f, x: f.group_norm(x, 2),
        lambda f, x: f.rms_norm(x, (3,)),
    ],
    ids=["instance", "batch", "layer", "group", "rms"],
)
def test_a_norm_without_weights_may_be_followed_by_an_inplace_function(normalised):
    gradients = []
    for engine in (torch, thalweg):
        x = engine.arange(24.0).reshape(2, 4, 3).sin().detach().requires_grad_()
        y = normalised(engine.nn.functional, x)
        (y.relu_() * engine.arange(24.0).reshape(2, 4, 3)).sum().backward()
        gradients.append(x.grad.numpy())
    np.testing.assert_allclose(*gradients, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("engine", [torch, thalweg], ids=["torch", "thalweg"])
def test_storages_tell_which_tensors_share_memory(engine):
    x = engine.arange(6.0)
    assert x.untyped_storage().data_ptr() == x[2:].view(2, 2).untyped_storage().data_ptr()
    assert x.untyped_storage().data_ptr() != x.clone().untyped_storage().data_ptr()
    assert x.untyped_storage().nbytes() == 24 and x.is_same_size(engine.zeros(6))
    assert x.new(2, 3).shape == (2, 3) and x.long().new([1, 2]).dtype is engine.int64
    assert engine.zeros(3).apply_(lambda v: v + 2).tolist() == [2, 2, 2]
    assert engine.ones(1).is_nonzero() and not x.is_conj() and x.resolve_conj() is x


@pytest.mark.parametrize(
    ("name", "rest"),
    [
        ("add", ([2.0, 3.0],)), ("add", (0.5,)), ("mul", (2.0,)), ("sqrt", ()), ("neg", ()),
        ("addcdiv", (0, 1, 0.5)), ("addcmul", (0, 1, [0.5, 2.0])), ("maximum", (0.4,)),
        ("lerp", (0, 0.3)), ("pow", (2.0,)), ("sub", (0,)), ("clamp_min", (0.2,)),
    ],
)  # fmt: skip
def test_functions_over_lists_are_pytorchs(name, rest):
    def run(engine, ending):
        lists = [[engine.tensor([0.25 * k + 0.1, 0.5]) for k in (i, i + 1)] for i in (1, 2, 3)]
        args = [lists[a + 1] if type(a) is int else a for a in rest]
        function = getattr(engine, f"_foreach_{name}{ending}")
        found = function(lists[0], *args)
        return [t.tolist() for t in (lists[0] if ending else found)]

    for ending in ("", "_"):
        np.testing.assert_allclose(run(thalweg, ending), run(torch, ending), rtol=1e-6)


def test_lists_of_different_lengths_are_refused():
    with pytest.raises(RuntimeError, match="same number of tensors"):
        thalweg._foreach_add([thalweg.ones(1)], [thalweg.ones(1)] * 2)
    norms = thalweg._foreach_norm([thalweg.ones(4), thalweg.zeros(2)])
    assert [n.item() for n in norms] == [2.0, 0.0]


def test_sparse_is_dense_here():
    for engine in (torch, thalweg):
        links = engine.eye(3)[[1, 0, 2]]
        assert engine.spmm(links.to_sparse(), engine.arange(6.0).reshape(3, 2)).tolist() == [
            [2, 3], [0, 1], [4, 5],
        ]  # fmt: skip
        assert links.to_sparse().to_dense().tolist() == links.tolist()
    assert not links.to_sparse().is_sparse
