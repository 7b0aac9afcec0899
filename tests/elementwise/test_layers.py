"""The classes against the plain NumPy ones that they replace: all forms of call, same numbers."""

from __future__ import annotations

import copy
import pickle
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from cases import Array
from checks import same_bits

import fastbce
from fastbce.demo import from_scratch as reference

pytestmark = pytest.mark.usefixtures("backend")

TOLERANCE = {np.float32: 1e-6, np.float64: 1e-12}
every_dtype = pytest.mark.parametrize("dtype", TOLERANCE, ids=lambda dtype: dtype.__name__)
every_shape = pytest.mark.parametrize("shape", [(50, 1), (50, 3), (7, 1500)], ids=str)


def data(shape: tuple[int, ...], dtype: Any = np.float64) -> tuple[Array, Array]:
    """Return probabilities, a few of them at the clip, and labels."""
    rng = np.random.default_rng(5)
    p = rng.random(shape).astype(dtype)
    p.flat[0], p.flat[1] = 0, 1
    return p, rng.integers(0, 2, shape)


def layer(seed: int, **regularizers: float) -> SimpleNamespace:
    rng = np.random.default_rng(seed)
    names = [f"{what}_regularizer_{norm}" for what in ("weight", "bias") for norm in ("l1", "l2")]
    return SimpleNamespace(
        weights=rng.normal(size=(3, 4)),
        biases=rng.normal(size=(1, 4)),
        **{name: regularizers.get(name, 0.0) for name in names},
    )


LAYERS = [
    layer(1, weight_regularizer_l1=0.1, bias_regularizer_l2=0.2),
    layer(2, weight_regularizer_l2=0.3, bias_regularizer_l1=0.4),
    layer(3),
]


# --- the activation -----------------------------------------------------------------------------


@every_dtype
@every_shape
def test_sigmoid(shape: tuple[int, ...], dtype: Any) -> None:
    rng = np.random.default_rng(6)
    z, dvalues = rng.normal(size=(2, *shape)).astype(dtype) * dtype(3)
    ours, theirs = fastbce.Activation_Sigmoid(), reference.Activation_Sigmoid()
    for each in (ours, theirs):
        each.forward(z, True)
        each.backward(dvalues)
    assert ours.inputs is z
    for name in ("output", "dinputs"):
        actual, expected = getattr(ours, name), getattr(theirs, name)
        assert actual.dtype == expected.dtype == dtype
        # 1 - output cancels: its error is relative to output's.
        np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype], atol=TOLERANCE[dtype])


def test_training_is_optional_and_ignored() -> None:
    z = np.linspace(-3, 3, 10)
    outputs = []
    for arguments in ((), (True,), (False,)):
        activation = fastbce.Activation_Sigmoid()
        activation.forward(z, *arguments)
        outputs.append(activation.output)
    activation.forward(inputs=z, training=True)
    outputs.append(activation.output)
    assert all(same_bits(output, outputs[0]) for output in outputs)


def test_predictions() -> None:
    outputs = np.array([[0.2, 0.5], [0.500001, 0.9]])
    ours = fastbce.Activation_Sigmoid().predictions(outputs)
    theirs = reference.Activation_Sigmoid().predictions(outputs)
    assert same_bits(ours, theirs)
    assert ours.tolist() == [[0, 0], [1, 1]]


def test_a_list_can_be_passed_forward_and_back() -> None:
    activation = fastbce.Activation_Sigmoid()
    activation.forward([0.0, 1.0])
    activation.backward([1.0, 1.0])
    np.testing.assert_allclose(activation.dinputs, [0.25, 0.19661193324148185])


# --- the loss -----------------------------------------------------------------------------------


@every_dtype
@every_shape
def test_loss(shape: tuple[int, ...], dtype: Any) -> None:
    p, y = data(shape, dtype)
    ours, theirs = fastbce.Loss_BinaryCrossentropy(), reference.Loss_BinaryCrossentropy()
    actual, expected = ours.forward(p, y), theirs.forward(p, y)
    assert actual.shape == expected.shape == shape[:-1]
    # The reference's own 1 - p of float32 costs it some digits near the clip.
    np.testing.assert_allclose(actual, expected, rtol=TOLERANCE[dtype] * 2)
    ours.backward(p, y)
    theirs.backward(p, y)
    assert ours.dinputs.dtype == dtype
    assert ours.dinputs.shape == shape
    np.testing.assert_allclose(ours.dinputs, theirs.dinputs, rtol=TOLERANCE[dtype])


@every_dtype
@every_shape
def test_calculate(shape: tuple[int, ...], dtype: Any) -> None:
    p, y = data(shape, dtype)
    ours, theirs = fastbce.Loss_BinaryCrossentropy(), reference.Loss_BinaryCrossentropy()
    for each in (ours, theirs):
        each.remember_trainable_layers(LAYERS)
    rtol = TOLERANCE[dtype]
    np.testing.assert_allclose(ours.calculate(p, y), theirs.calculate(p, y), rtol=rtol)
    actual = ours.calculate(p, y, include_regularization=True)
    expected = theirs.calculate(p, y, include_regularization=True)
    assert type(actual) is tuple
    np.testing.assert_allclose(actual, expected, rtol=rtol)
    assert ours.accumulated_count == theirs.accumulated_count == 2 * shape[0]
    np.testing.assert_allclose(
        ours.calculate_accumulated(), theirs.calculate_accumulated(), rtol=rtol
    )
    actual = ours.calculate_accumulated(include_regularization=True)
    expected = theirs.calculate_accumulated(include_regularization=True)
    np.testing.assert_allclose(actual, expected, rtol=rtol)


def test_batches_of_different_size_accumulate_by_sample() -> None:
    loss = fastbce.Loss_BinaryCrossentropy()
    p, y = data((30, 2))
    for part in (slice(0, 4), slice(4, 30)):
        loss.calculate(p[part], y[part])
    accumulated = loss.calculate_accumulated()
    loss.new_pass()
    assert loss.accumulated_sum == 0
    assert loss.accumulated_count == 0
    np.testing.assert_allclose(accumulated, loss.calculate(p, y), rtol=1e-14)


@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_totals_are_float64(dtype: Any) -> None:
    loss = fastbce.Loss_BinaryCrossentropy()
    p, y = np.full((64, 1), 0.99, dtype), np.ones((64, 1), dtype)
    once = loss.calculate(p, y)
    assert once.dtype == dtype
    assert type(loss.accumulated_sum) is float
    assert loss.accumulated_count == 64
    exact = float(np.sum(loss.forward(p, y), dtype=np.float64))
    np.testing.assert_allclose(loss.accumulated_sum, exact, rtol=np.finfo(dtype).eps)
    np.testing.assert_allclose(once, exact / 64, rtol=np.finfo(dtype).eps)
    assert type(loss.calculate_accumulated()) is np.float64


class Given(fastbce.Loss):
    """The predictions are the losses."""

    def forward(self, y_pred: Array, y_true: Array) -> Array:
        return y_pred


def test_a_small_loss_counts_beside_a_large_total() -> None:
    loss = Given()
    for value in (2.0**24, *[0.5] * 1000):  # a float32 total would stay at 2^24
        loss.calculate(np.array([value], np.float32), None)
    assert loss.accumulated_sum == 2**24 + 500
    assert loss.calculate_accumulated() == (2**24 + 500) / 1001


def test_the_mean_of_many_float32_losses() -> None:
    losses = np.full((1_000_000, 3), 0.1, np.float32)[:, :2]
    mean = Given().calculate(losses, None)
    assert type(mean) is np.float32
    assert mean == np.float32(0.1)


def test_flags_of_numpy_change_nothing() -> None:
    special = [0.0, 5e-324, 1e-40, 6e-8, 0.5, 1.0, 746.0, -746.0, 6e4, 1e30, np.inf, np.nan]

    def results(dtype: Any, told: Any) -> list[bytes]:
        with np.errstate(all="ignore"):
            z = np.array(special).astype(dtype)[:, None]
        y = np.arange(len(z))[:, None] % 2
        activation, combined = (
            fastbce.Activation_Sigmoid(),
            fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy(),
        )
        loss, found = fastbce.Loss_BinaryCrossentropy(), []
        large = layer(1, weight_regularizer_l1=1e300, weight_regularizer_l2=1e300)
        large.weights = np.full((3, 4), 1e200)
        loss.remember_trainable_layers([large])
        with np.errstate(all=told):
            for scores, labels in (
                (z, y),
                (np.tile(z[:, None], (1, 2, 3)), np.tile(y[:, None], 6)),
            ):
                labels = labels.reshape(scores.shape)
                activation.forward(scores)
                activation.backward(scores)
                loss.backward(scores, labels)
                found += [activation.output, activation.dinputs, loss.dinputs]
                found += [activation.predictions(scores), combined.forward(scores, labels)]
                for probabilities in (combined.output, scores):
                    combined.backward(probabilities, labels)
                    found.append(combined.dinputs)
                for finite in (1, len(scores)):
                    part = slice(0, finite)
                    found += [
                        *loss.calculate(scores[part], labels[part], include_regularization=True)
                    ]
            found.append(loss.calculate_accumulated())
        return [np.asarray(each).tobytes() for each in found]

    for dtype in (np.float16, np.float32, np.float64):
        expected = results(dtype, "ignore")
        assert results(dtype, "warn") == expected
        assert results(dtype, "raise") == expected


def test_nothing_accumulated() -> None:
    with pytest.raises(ValueError, match=r"call calculate\(\) first"):
        fastbce.Loss_BinaryCrossentropy().calculate_accumulated()


def test_regularization_in_both_forms() -> None:
    ours, theirs = fastbce.Loss_BinaryCrossentropy(), reference.Loss_BinaryCrossentropy()
    for each in LAYERS:
        expected = theirs.regularization_loss(each)
        np.testing.assert_allclose(ours.regularization_loss(each), expected, rtol=1e-14)
    ours.remember_trainable_layers(LAYERS)
    theirs.remember_trainable_layers(LAYERS)
    assert ours.trainable_layers is LAYERS
    total = ours.regularization_loss()
    assert total > 0
    np.testing.assert_allclose(total, theirs.regularization_loss(), rtol=1e-14)


def test_the_base_class_serves_other_losses() -> None:
    class MeanSquared(fastbce.Loss):
        def __init__(self) -> None:  # as the book's: without a call of the base class's
            self.name = "mean squared"

        def forward(self, y_pred: Array, y_true: Array) -> Array:
            return np.asarray(np.mean((y_true - y_pred) ** 2, axis=-1))

    loss = MeanSquared()
    p, y = data((20, 2))
    assert loss.calculate(p, y) == pytest.approx(np.mean((p - y) ** 2))
    assert loss.accumulated_count == 20
    assert fastbce.Loss.accumulated_count == 0
    with pytest.raises(NotImplementedError, match="Loss does not define forward"):
        fastbce.Loss().calculate(p, y)


def test_more_axes_are_divided_like_the_reference() -> None:
    p, y = data((4, 3, 5))
    ours, theirs = fastbce.Loss_BinaryCrossentropy(), reference.Loss_BinaryCrossentropy()
    ours.backward(p, y)
    theirs.backward(p, y)
    np.testing.assert_allclose(ours.dinputs, theirs.dinputs, rtol=1e-13)


def test_backward_of_one_axis_counts_samples_of_one_output() -> None:
    p, y = data((40,))
    loss = fastbce.Loss_BinaryCrossentropy()
    loss.backward(p, y)
    column = fastbce.Loss_BinaryCrossentropy()
    column.backward(p[:, None], y[:, None])
    assert same_bits(loss.dinputs, column.dinputs[:, 0])


def test_mismatched_labels_are_an_error() -> None:
    p, y = data((6, 1))
    loss = fastbce.Loss_BinaryCrossentropy()
    for call in (loss.forward, loss.backward, loss.calculate):
        with pytest.raises(ValueError, match=r"reshape\(y_pred\.shape\)"):
            call(p, y[:, 0])


# --- sigmoid and loss in one --------------------------------------------------------------------


@every_dtype
@every_shape
def test_combined_class(shape: tuple[int, ...], dtype: Any) -> None:
    z = np.random.default_rng(7).normal(size=shape).astype(dtype)
    _, y = data(shape)
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    activation, loss = reference.Activation_Sigmoid(), reference.Loss_BinaryCrossentropy()
    value = combined.forward(z, y)
    activation.forward(z)
    rtol = TOLERANCE[dtype] * 2
    np.testing.assert_allclose(value, loss.calculate(activation.output, y), rtol=rtol)
    np.testing.assert_allclose(combined.output, activation.output, rtol=rtol)
    loss.backward(activation.output, y)
    activation.backward(loss.dinputs)
    # Passing other probabilities differentiates the loss and the sigmoid one after the other.
    for probabilities in (combined.output, combined.output.copy()):
        combined.backward(probabilities, y)
        assert combined.dinputs.shape == shape
        np.testing.assert_allclose(combined.dinputs, activation.dinputs, rtol=rtol * 4)


def test_combined_class_keeps_the_gradient_of_saturated_outputs() -> None:
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    z = np.array([[50.0], [-50.0]])
    combined.forward(z, np.array([[0], [1]]))
    combined.backward(combined.output, np.array([[0], [1]]))
    np.testing.assert_array_equal(combined.dinputs, [[0.5], [-0.5]])


# --- objects ------------------------------------------------------------------------------------


def used() -> list[Any]:
    p, y = data((8, 2))
    activation = fastbce.Activation_Sigmoid()
    activation.forward(p)
    activation.backward(p)
    loss = fastbce.Loss_BinaryCrossentropy()
    loss.remember_trainable_layers(LAYERS)
    loss.calculate(p, y)
    loss.backward(p, y)
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    combined.forward(p, y)
    combined.backward(combined.output, y)
    return [activation, loss, combined]


@pytest.mark.parametrize("position", [0, 1, 2])
@pytest.mark.parametrize("how", ["deepcopy", "pickle"])
def test_copies_are_complete_and_independent(position: int, how: str) -> None:
    original = used()[position]
    twin = copy.deepcopy(original) if how == "deepcopy" else pickle.loads(pickle.dumps(original))
    assert type(twin) is type(original)
    assert vars(twin).keys() == vars(original).keys()
    for name, value in vars(original).items():
        if isinstance(value, np.ndarray):
            assert same_bits(getattr(twin, name), value)
            assert not np.shares_memory(getattr(twin, name), value)
    before = original.dinputs.copy()
    twin.dinputs += 1
    assert same_bits(original.dinputs, before)


@pytest.mark.parametrize("position", [0, 1, 2])
def test_arrays_can_be_dropped_and_objects_reused(position: int) -> None:
    each = used()[position]
    for name in ("inputs", "output", "dinputs"):
        each.__dict__.pop(name, None)
        assert not hasattr(each, name)
    p, y = data((8, 2))
    if position == 0:
        each.forward(p)
        each.backward(p)
    else:
        each.forward(p, y)
        each.backward(p, y)
    assert each.dinputs.shape == p.shape


def test_results_handed_out_never_change() -> None:
    p, y = data((200, 3))
    activation = fastbce.Activation_Sigmoid()
    loss = fastbce.Loss_BinaryCrossentropy()
    kept: list[tuple[Array, bytes]] = []
    for step in range(3):
        activation.forward(p * step)
        activation.backward(p)
        losses = loss.forward(activation.output, y)
        loss.backward(activation.output, y)
        arrays = (activation.output, activation.dinputs, losses, loss.dinputs)
        kept += [(array, array.tobytes()) for array in arrays]
    for i, (array, content) in enumerate(kept):
        assert array.tobytes() == content
        assert not any(np.shares_memory(array, other) for other, _ in kept[:i])


def test_a_small_network_learns_the_same() -> None:
    """The whole loop of the reference, once with each set of classes."""
    rng = np.random.default_rng(8)
    x = rng.normal(size=(200, 3))
    y = (x @ [[1.0], [-2.0], [0.5]] > 0.2) * 1
    curves = []
    for classes in (fastbce, reference):
        weights, bias = np.zeros((3, 1)), np.zeros((1, 1))
        activation = classes.Activation_Sigmoid()
        loss = classes.Loss_BinaryCrossentropy()
        loss.remember_trainable_layers([])
        curve = []
        for _ in range(60):
            activation.forward(x @ weights + bias, True)
            curve.append(loss.calculate(activation.output, y))
            loss.backward(activation.output, y)
            activation.backward(loss.dinputs)
            weights -= 2 * x.T @ activation.dinputs
            bias -= 2 * activation.dinputs.sum(axis=0, keepdims=True)
        curves.append(curve)
    np.testing.assert_allclose(curves[0], curves[1], rtol=1e-12)
    assert curves[0][-1] < 0.2 < curves[0][0]


def test_backward_takes_the_gradient_of_forward_once() -> None:
    """And computes it where anything is another object: always the same bits."""
    z = np.random.default_rng(9).normal(size=(300, 2))
    _, y = data(z.shape)
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()

    def expected(labels: Any, inputs: Any = z) -> Any:
        return fastbce.bce_with_logits_gradient(inputs, labels)

    found = []
    combined.forward(z, y)
    for _ in range(2):
        combined.backward(combined.output, y)
        found.append(combined.dinputs)
    assert same_bits(found[0], expected(y))
    assert same_bits(found[1], expected(y))
    assert not np.shares_memory(found[0], found[1])
    for labels, inputs in ((1 - y, z), (y.copy(), z), (y, z * 2)):
        combined.forward(z, y)
        combined.inputs = inputs
        combined.backward(combined.output, labels)
        assert same_bits(combined.dinputs, expected(labels, inputs))
    combined.forward(z, y)
    combined.output = combined.output * 0.5
    combined.backward(combined.output, y)
    assert same_bits(combined.dinputs, expected(y))
    combined.forward(z, y)
    given = np.full_like(z, 0.25)
    combined.backward(given, y)
    exact = fastbce.sigmoid_backward(fastbce.bce_gradient(given, y), given)
    assert same_bits(combined.dinputs, exact)
    combined.backward(combined.output, y)
    assert same_bits(combined.dinputs, expected(y))


@pytest.mark.parametrize("how", ["deepcopy", "pickle", "popped"])
def test_copies_between_forward_and_backward(how: str) -> None:
    z = np.random.default_rng(9).normal(size=(300, 2))
    _, y = data(z.shape)
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    combined.forward(z, y)
    whole = len(pickle.dumps(combined))
    assert whole < 3 * z.nbytes
    if how == "popped":
        for name in list(vars(combined)):
            combined.__dict__.pop(name)
        combined.forward(z, y)
    else:
        twin = (
            copy.deepcopy(combined) if how == "deepcopy" else pickle.loads(pickle.dumps(combined))
        )
        combined.backward(combined.output, y)
        combined = twin
    combined.backward(combined.output, y)
    assert same_bits(combined.dinputs, fastbce.bce_with_logits_gradient(z, y))


def test_an_error_in_forward_changes_nothing() -> None:
    z = np.zeros((4, 1))
    combined = fastbce.Activation_Sigmoid_Loss_BinaryCrossentropy()
    combined.forward(z, z)
    before = dict(vars(combined))
    with pytest.raises(ValueError, match="shape"):
        combined.forward(z + 1, z[:, 0])
    assert all(vars(combined)[name] is value for name, value in before.items())
